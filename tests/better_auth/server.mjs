// One Better Auth instance over PostgreSQL, for tests that want real tokens, cookies and rows.
//
// Environment (only the first two are required):
//   DATABASE_URL         a libpq URL
//   BETTER_AUTH_SECRET   signs cookies and HS256 tokens, encrypts the private keys in "jwks"
//   BETTER_AUTH_URL      its public address, default the one it listens on; https makes the cookies Secure
//   PORT                 on 127.0.0.1; default 0, any free one
//   MIGRATE              1: run Better Auth's own migration first
//   JWT_ALG              EdDSA (default), ES256, ES512, RS256, PS256. Decides about new keys only
//   JWT_EXPIRES_IN       a time span, default 15m; a negative one ("-1m") issues tokens that are expired already
//   JWT_ROTATION         seconds that a key signs for; default: for ever
//   JWT_GRACE            seconds that it stays published after that; default: 30 days
//   COOKIE_CACHE         jwt, jwe or compact: adds the session_data cookie in that format;
//                        jwks: a JWT too, but signed with the published key instead of the secret
//   ID_TYPE              text (default), uuid, serial
//   USER_MODEL           name of the user table, default user
//   SCHEMA               PostgreSQL schema of the tables; default: the connection's search_path
//   MCP_RESOURCE         the address of an MCP server: adds the mcp plugin, which issues access tokens for it
//   TRUSTED_ORIGINS      more origins that may send cookies, separated by commas
//
// Beside Better Auth's own routes, for the tests alone:
//   GET /__mail          the verification mails "sent" since the start, oldest first
//   POST /__retire-keys  ends the signing time of every key: the next token gets a new one, JWT_GRACE starts
//   POST /__forget-keys  deletes every key
import { once } from "node:events";
import { createServer } from "node:http";
import { mcp } from "@better-auth/mcp";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { bearer, jwt } from "better-auth/plugins";
import { Kysely, PostgresDialect } from "kysely";
import pg from "pg";

const { env } = process;
if (!env.DATABASE_URL || !env.BETTER_AUTH_SECRET) throw new Error("DATABASE_URL and BETTER_AUTH_SECRET are required");
const seconds = (value) => (value ? Number(value) : undefined);

const pool = new pg.Pool({ connectionString: env.DATABASE_URL });
// Without a listener an idle connection that the database closes would end the process.
pool.on("error", (error) => console.error(error.message));

// A bare pool is the usual configuration; only this longer one takes a schema.
const kysely = () => new Kysely({ dialect: new PostgresDialect({ pool }) });
const database = env.SCHEMA ? { db: kysely(), type: "postgres", schemaName: env.SCHEMA, transaction: true } : pool;

const mails = [];

// Every client may register itself, as agents do that nobody here has heard of.
const agents = () =>
  mcp({
    loginPage: "/login",
    consentPage: "/consent",
    resource: env.MCP_RESOURCE,
    scopes: ["openid", "profile", "email", "offline_access", "tasks:read", "tasks:write"],
    allowDynamicClientRegistration: true,
    allowUnauthenticatedClientRegistration: true,
  });

const optionsFor = (baseURL) => ({
  baseURL,
  database,
  secret: env.BETTER_AUTH_SECRET,
  trustedOrigins: env.TRUSTED_ORIGINS?.split(","),
  emailAndPassword: { enabled: true },
  emailVerification: {
    sendOnSignUp: true,
    sendVerificationEmail: async ({ user, url, token }) => void mails.push({ to: user.email, url, token }),
  },
  user: { modelName: env.USER_MODEL || "user", deleteUser: { enabled: true } },
  session: env.COOKIE_CACHE && {
    cookieCache: { enabled: true, strategy: env.COOKIE_CACHE === "jwks" ? "jwt" : env.COOKIE_CACHE },
  },
  advanced: { database: { generateId: env.ID_TYPE === "text" ? undefined : env.ID_TYPE } },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  // Stdout carries the one line that the parent waits for; everything else goes to stderr.
  logger: { log: (level, message, ...details) => console.error(`${level}: ${message}`, ...details) },
  plugins: [
    bearer(),
    jwt({
      sessionCookieCache: env.COOKIE_CACHE === "jwks",
      jwks: {
        keyPairConfig: { alg: env.JWT_ALG || "EdDSA" },
        rotationInterval: seconds(env.JWT_ROTATION),
        gracePeriod: seconds(env.JWT_GRACE),
      },
      jwt: { expirationTime: env.JWT_EXPIRES_IN || undefined },
    }),
    ...(env.MCP_RESOURCE ? [agents()] : []),
  ],
});

// The default base URL holds the port, so Better Auth is built after the socket is bound; early requests wait.
const server = createServer(async (request, response) => {
  try {
    const { handle, extras } = await ready;
    const extra = extras[`${request.method} ${request.url}`];
    if (!extra) return await handle(request, response);
    response.setHeader("content-type", "application/json").end(JSON.stringify(await extra()));
  } catch (error) {
    // A missing table, for one, makes Better Auth reject every request, which would end the process.
    console.error(error);
    response.writeHead(500).end();
  }
});
server.listen(Number(env.PORT || 0), "127.0.0.1");
const ready = once(server, "listening").then(async () => {
  const options = optionsFor(env.BETTER_AUTH_URL || `http://127.0.0.1:${server.address().port}`);
  if (env.MIGRATE === "1") await (await getMigrations(options)).runMigrations();
  const auth = betterAuth(options);
  const { adapter } = await auth.$context;
  const extras = {
    "GET /__mail": () => mails,
    "POST /__retire-keys": () => adapter.updateMany({ model: "jwks", where: [], update: { expiresAt: new Date() } }),
    "POST /__forget-keys": () => adapter.deleteMany({ model: "jwks", where: [] }),
  };
  return { handle: toNodeHandler(auth), extras };
});

// The parent holds the other end of stdin. It closes with the parent, however that one ends, so no server outlives it.
Promise.race([once(process, "SIGTERM"), once(process.stdin.resume(), "end")]).then(async () => {
  server.close().closeAllConnections();
  await pool.end();
  process.exit(0);
});

await ready;
console.log(JSON.stringify({ listening: `http://127.0.0.1:${server.address().port}` }));
