import type { BatchResult, FieldError, Task } from "./types.js";

/** A field that two sides have changed: `mine` was to be written, `theirs` is there, `base` was there before. */
export interface Conflict {
  base: unknown;
  mine: unknown;
  theirs: unknown;
}

/** What errors of some codes have beside. */
export interface Extras {
  version_mismatch: { current: Task; conflicts?: Record<string, Conflict> };
  batch_failed: { results: BatchResult[] };
  changed_since: { tasks: number[] };
  validation_error: { detail: FieldError[] };
}

/**
 * What went wrong. `code` is for programs: the service's own, or one of the client's: `network_error` (no
 * answer, status 0), `signed_out` (there is no token to be had), `other_user` (the token is somebody else's).
 */
export class TaskApiError extends Error {
  override readonly name = "TaskApiError";
  readonly status: number;
  readonly code: string;
  readonly detail: string | FieldError[];
  readonly requestId: string | undefined;
  /** Seconds, where the service said when to try again. */
  readonly retryAfter: number | undefined;

  constructor(
    status: number,
    { code, detail, request_id, ...extras }: { code: string; detail: string | FieldError[]; request_id?: string },
    { cause, retryAfter }: { cause?: unknown; retryAfter?: number | undefined } = {},
  ) {
    super(typeof detail === "string" ? detail : detail.map(({ loc, msg }) => `${loc.join(".")}: ${msg}`).join("; "), {
      cause,
    });
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.requestId = request_id;
    this.retryAfter = retryAfter;
    Object.assign(this, extras);
  }

  /** Whether it is this error; then its extras are typed: `if (error.is("version_mismatch")) error.current`. */
  is<Code extends keyof Extras>(code: Code): this is TaskApiError & Extras[Code] {
    return this.code === code;
  }
}

/** An error as it can be stored, and posted to another tab. */
export function plain(error: TaskApiError): object {
  return { ...error, requestId: undefined, name: undefined, request_id: error.requestId };
}

export function revived(error: object): TaskApiError {
  const { status, retryAfter, requestId: _, name: __, ...problem } = error as TaskApiError;
  return new TaskApiError(status, problem, { retryAfter });
}
