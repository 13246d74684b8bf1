import { TaskApiError } from "./errors.js";
import type { Call, Http } from "./http.js";
import { conflicts } from "./merge.js";
import type { Action } from "./store.js";
import type { Task, TaskChanges } from "./types.js";

const KEPT = 23 * 60 * 60 * 1000; // ms; the service keeps answers for a day

/** Whether it is worth trying again later: nothing is known of it, or it is not the time. */
export const isForNow = (error: unknown): error is TaskApiError =>
  error instanceof TaskApiError && (error.status === 0 || error.status === 408 || error.status === 429 || error.status >= 500);

/** Whether the service has broken down over it, rather than not being there. */
export const isBroken = ({ status }: TaskApiError): boolean => status >= 500 && (status < 502 || status > 504);

/** Whether nobody is signed in, or somebody else. */
export const isForOthers = (error: unknown): error is TaskApiError =>
  error instanceof TaskApiError && (error.status === 401 || error.status === 403);

/** The refusal of an update whose fields others have changed, before anything is sent. */
export function refusal(action: Action, current: Task): TaskApiError | undefined {
  const found = action.seen && conflicts(action.seen, action.fields as TaskChanges, current);
  if (!found) return undefined;
  const detail = "The task has changed since; read it again";
  const problem = { code: "version_mismatch", detail, current, conflicts: found };
  return new TaskApiError(412, problem);
}

/**
 * Send a change, and return the task as it is then; undefined where it is gone.
 *
 * The answer to a repetition is what was true then: the task is read anew, for what has happened to it since may
 * have been heard already.
 */
export async function send(http: Http, action: Action, id: number, call: Call): Promise<Task | undefined> {
  if (action.sent !== undefined && Date.now() - action.sent > KEPT) {
    throw new TaskApiError(409, { code: "outcome_unknown", detail: "Whether this was done is not known any more" });
  }
  const write = async (method: string, path: string, body?: unknown, version?: number): Promise<Task | undefined> => {
    const headers = { "If-Match": version === undefined ? undefined : `"${version}"` };
    const { data, headers: answered } = await http.send<Task>(method, path, { ...call, key: action.key, body, headers });
    if (!answered.has("Idempotency-Replayed")) return data;
    return found(http, data?.id ?? id, call);
  };
  switch (action.kind) {
    case "create":
      return write("POST", "/tasks", action.fields);
    case "complete":
      return write("PATCH", `/tasks/${id}/complete`, { completed: action.completed });
    case "restore":
      return write("POST", `/tasks/${id}/restore`);
    case "remove":
      await write("DELETE", `/tasks/${id}`).catch((error: unknown) => {
        if (!(error instanceof TaskApiError && error.code === "task_not_found")) throw error;
      });
      return undefined;
    case "update":
      for (let version = action.version; ; ) {
        try {
          return await write("PATCH", `/tasks/${id}`, action.fields, version);
        } catch (error) {
          if (!(error instanceof TaskApiError && error.is("version_mismatch"))) throw error;
          const refused = refusal(action, error.current);
          if (refused) throw refused;
          version = error.current.version;
        }
      }
  }
}

async function found(http: Http, id: number, call: Call): Promise<Task | undefined> {
  try {
    return (await http.send<Task>("GET", `/tasks/${id}`, call)).data;
  } catch (error) {
    if (error instanceof TaskApiError && error.status === 404) return undefined;
    throw error;
  }
}
