export { type Conflict, type Extras, TaskApiError } from "./errors.js";
export type { Notice, WatchOptions } from "./events.js";
export type { CallOptions, Options } from "./http.js";
export { Pages, type TaskRef, type TasksApi, tasksApi, type WriteOptions } from "./tasks.js";
export { jwtPlugin, SESSION_COOKIE, serverToken, type TokenSource, tokenRoute } from "./tokens.js";
export type * from "./types.js";
