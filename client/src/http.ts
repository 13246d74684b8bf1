import { TaskApiError } from "./errors.js";
import { type TokenSource, Tokens, userOf } from "./tokens.js";

export interface Options {
  /** The service's address: `http://localhost:8000`. */
  base: string;
  token: TokenSource;
  /** How often a request that may be repeated is repeated; 5 times by default. */
  retries?: number;
  /** How long one try may take, in ms; 30 seconds by default. */
  timeout?: number;
  fetch?: typeof fetch;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface Call extends CallOptions {
  query?: object | undefined;
  body?: unknown;
  headers?: Record<string, string | undefined>;
  /** What makes it one action however often it is sent; made up where it is not given. */
  key?: string | undefined;
  /** Whom the token has to be of. */
  as?: string | undefined;
  retries?: number | undefined;
}

export interface Answer<T> {
  data: T;
  headers: Headers;
  status: number;
}

const OWN = new Set(["signed_out", "other_user"]); // said by no service: another token would change nothing
const RETRIED = new Set([0, 429, 502, 503, 504]);
const FIRST_PAUSE = 250; // ms, doubled with each try
const LONGEST_PAUSE = 20_000;

/** Requests under `/api` with a token, a key and retries: network errors, 429 and 502 to 504 are tried again, nothing else. */
export class Http {
  readonly tokens: Tokens;
  readonly base: string;
  readonly #options: Options;

  constructor(options: Options) {
    this.#options = options;
    this.base = options.base.replace(/\/+$/, "");
    this.tokens = new Tokens(options.token);
  }

  /** Send a request, and read its answer as JSON, or as text where it is none. */
  send<T>(method: string, path: string, call: Call = {}): Promise<Answer<T>> {
    return this.#send(method, path, call, async (response) => {
      const text = await response.text();
      const isJson = response.headers.get("Content-Type")?.includes("json") && text !== "";
      const data = (isJson && !response.headers.get("Content-Type")?.includes("ndjson") ? JSON.parse(text) : text) as T;
      return { data, headers: response.headers, status: response.status };
    });
  }

  /** Send a request whose answer is read as it comes. `timeout` ends with its head. */
  open(path: string, call: Call, method = "GET"): Promise<Response> {
    return this.#send(method, path, call, (response) => Promise.resolve(response));
  }

  async #send<T>(method: string, path: string, call: Call, read: (response: Response) => Promise<T>): Promise<T> {
    const { signal } = call;
    const key = method === "GET" ? undefined : (call.key ?? newKey());
    const retries = call.retries ?? this.#options.retries ?? 5;
    let renewed = false;
    for (let tries = 0; ; tries++) {
      signal?.throwIfAborted();
      let failure: TaskApiError;
      const token = this.tokens.get();
      try {
        return await this.#try(method, path, call, key, token, read);
      } catch (error) {
        signal?.throwIfAborted();
        failure =
          error instanceof TaskApiError
            ? error
            : new TaskApiError(0, { code: "network_error", detail: `No answer: ${error}` }, { cause: error });
      }
      if (failure.status === 401 && !OWN.has(failure.code) && !renewed) {
        renewed = true;
        if (this.tokens.refused(token)) continue;
      }
      const wait = pause(tries, failure.retryAfter);
      if (!RETRIED.has(failure.status) || tries >= retries || wait > LONGEST_PAUSE * 1.5) throw failure;
      await sleep(wait, signal);
    }
  }

  async #try<T>(
    method: string,
    path: string,
    call: Call,
    key: string | undefined,
    awaited: Promise<string | undefined>,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const controller = new AbortController();
    const cancel = () => controller.abort(call.signal?.reason);
    call.signal?.addEventListener("abort", cancel, { once: true });
    const { timeout = 30_000, fetch: own } = this.#options;
    const timer = setTimeout(() => controller.abort(new Error(`nothing within ${timeout} ms`)), timeout);
    let isOpen = false;
    try {
      const token = await unlessAborted(awaited, controller.signal);
      if (call.as !== undefined && token !== undefined && userOf(token) !== call.as) {
        throw new TaskApiError(401, { code: "other_user", detail: `The token is not ${call.as}'s` });
      }
      const headers = new Headers();
      for (const [name, value] of Object.entries({ ...call.headers, "Idempotency-Key": key })) {
        if (value !== undefined) headers.set(name, value);
      }
      if (token !== undefined) headers.set("Authorization", `Bearer ${token}`);
      let { body } = call;
      if (body !== undefined && !headers.has("Content-Type")) {
        headers.set("Content-Type", "application/json");
        body = JSON.stringify(body);
      }
      const response = await (own ?? fetch)(`${this.base}/api${path}${search(call.query)}`, {
        method,
        headers,
        signal: controller.signal,
        cache: "no-store",
        ...(body === undefined ? {} : { body: body as BodyInit }),
        ...(token === undefined ? { credentials: "include" as const } : {}),
      });
      if (!response.ok) throw await failed(response);
      const answer = await read(response);
      isOpen = answer === response; // its reader goes on, until the caller's signal
      return answer;
    } finally {
      clearTimeout(timer);
      if (!isOpen) call.signal?.removeEventListener("abort", cancel);
    }
  }
}

/** An Idempotency-Key. `crypto.randomUUID` is missing on pages without TLS. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function failed(response: Response): Promise<TaskApiError> {
  const retryAfter = seconds(response.headers.get("Retry-After"));
  const text = await response.text();
  try {
    return new TaskApiError(response.status, JSON.parse(text), { retryAfter });
  } catch {
    // Not the service's: a proxy's page.
    const problem = { code: "http_error", detail: `${response.status} ${text.slice(0, 200)}` };
    return new TaskApiError(response.status, problem, { retryAfter });
  }
}

function seconds(retryAfter: string | null): number | undefined {
  if (!retryAfter) return undefined;
  const said = Number(retryAfter);
  const until = Number.isNaN(said) ? (Date.parse(retryAfter) - Date.now()) / 1000 : said;
  return Number.isNaN(until) ? undefined : Math.max(0, until);
}

/** How long to wait, in ms: what the service said, or twice as long each time; and up to a half more. */
function pause(tries: number, retryAfter: number | undefined): number {
  const least = retryAfter === undefined ? Math.min(FIRST_PAUSE * 2 ** tries, LONGEST_PAUSE) : retryAfter * 1000;
  return least * (1 + Math.random() / 2);
}

/** What a promise becomes, unless `signal` says before that nobody waits for it any more. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}

/** Wait, or reject as soon as `signal` says so. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

function search(query: object | undefined): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) parameters.append(name, String(one));
    }
  }
  const text = parameters.toString();
  return text && `?${text}`;
}
