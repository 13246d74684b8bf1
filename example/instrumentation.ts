/** Better Auth's own migration, once as the server starts; an app in production runs `npx auth migrate` instead. */
export async function register() {
  if (process.env.NEXT_RUNTIME !== "nodejs") return;
  const [{ getMigrations }, { auth }] = await Promise.all([import("better-auth/db/migration"), import("./lib/auth")]);
  await (await getMigrations(auth.options)).runMigrations();
}
