import { TaskApiError } from "./errors.js";

/** Where tokens come from: a function that fetches a new one, one token, or the session's cookie alone. */
export type TokenSource = (() => Promise<string>) | string | typeof SESSION_COOKIE;

/** For Better Auth's session cookie itself: nothing is fetched, and browsers send it along. */
export const SESSION_COOKIE = Symbol("session cookie");

const LONGEST = 30_000; // ms for a token to come
const MARGIN = 30_000; // ms before its end, within which a token is no longer used

/** Better Auth's jwt plugin, as a page asks for it. */
export const jwtPlugin = (url = "/api/auth/token"): (() => Promise<string>) => tokenFrom(url);

/** A route handler of the app's own that answers `{ token }`: signed with the secret, or the cached session. */
export const tokenRoute = (url = "/api/token"): (() => Promise<string>) => tokenFrom(url);

/** Better Auth's jwt plugin on the server: `serverToken(auth, await headers())` in a server component. */
export function serverToken(
  auth: { api: { getToken(context: { headers: Headers }): Promise<{ token: string }> } },
  headers: Headers,
): () => Promise<string> {
  return async () => {
    try {
      return (await auth.api.getToken({ headers })).token;
    } catch (cause) {
      throw signedOut(cause);
    }
  };
}

const signedOut = (cause?: unknown) =>
  new TaskApiError(401, { code: "signed_out", detail: "There is no token: sign in again" }, { cause });

function tokenFrom(url: string): () => Promise<string> {
  return async () => {
    const response = await fetch(url, { credentials: "include", cache: "no-store", signal: AbortSignal.timeout(LONGEST) });
    if (response.status === 401) throw signedOut();
    if (!response.ok) {
      throw new TaskApiError(response.status, { code: "no_token", detail: `${url} answered ${response.status}` });
    }
    const { token } = (await response.json()) as { token?: string };
    if (!token) throw signedOut();
    return token;
  };
}

/** What a JWT says; nothing of a token that is none. */
function claims(token: string): { sub?: string; exp?: number; iat?: number } {
  try {
    const [, payload = ""] = token.split(".");
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

/** Whose token it is, where it says so. */
export const userOf = (token: string | undefined): string | undefined => token && claims(token).sub;

/** How long a token that was just fetched may be used, in ms: by its own clock, since a device's may be wrong. */
function lifetime(token: string): number {
  const { exp, iat } = claims(token);
  if (exp === undefined) return Infinity;
  const life = exp * 1000 - (iat === undefined ? Date.now() : iat * 1000);
  return life - Math.min(MARGIN, life / 10);
}

/** The current token: fetched once however many ask, and kept until shortly before it ends. */
export class Tokens {
  readonly #source: TokenSource;
  #current: Promise<string> | undefined;
  #until = Infinity;

  constructor(source: TokenSource) {
    this.#source = source;
  }

  /** Undefined where the cookie says who asks. The same promise for all who ask meanwhile. */
  get(): Promise<string | undefined> {
    const source = this.#source;
    if (typeof source !== "function") return Promise.resolve(source === SESSION_COOKIE ? undefined : source);
    if (performance.now() >= this.#until) this.#current = undefined;
    return (this.#current ??= this.#fetch(source));
  }

  #fetch(source: () => Promise<string>): Promise<string> {
    this.#until = Infinity;
    const fetched = Promise.resolve().then(source);
    fetched.then(
      (token) => this.#current === fetched && (this.#until = performance.now() + lifetime(token)),
      () => this.#current === fetched && this.forget(),
    );
    return fetched;
  }

  /** Forget what get() has returned, which was refused, unless there is a newer one. Says whether there may be another. */
  refused(token: Promise<string | undefined>): boolean {
    if (this.#current === token) this.forget();
    return typeof this.#source === "function";
  }

  forget(): void {
    this.#current = undefined;
  }
}
