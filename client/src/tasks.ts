import { TaskApiError } from "./errors.js";
import { type Notice, type WatchOptions, watch } from "./events.js";
import { type CallOptions, Http, type Options } from "./http.js";
import { conflicts } from "./merge.js";
import { userOf } from "./tokens.js";
import type {
  BatchReply,
  Calendar,
  Changes,
  CreatedCalendar,
  ImportReply,
  NewCalendar,
  NewTask,
  Operation,
  RecurrenceQuery,
  Task,
  TaskChanges,
  TaskEvent,
  TaskFilter,
  TaskQuery,
  TaskStats,
  TrashedTask,
  Undone,
} from "./types.js";

/** A list that comes in pages: `for await (const task of api.list())`, or `await api.list().all()`. */
export class Pages<T> implements AsyncIterable<T> {
  readonly #page: (cursor: string | undefined) => Promise<{ items: T[]; next: string | undefined }>;

  constructor(page: (cursor: string | undefined) => Promise<{ items: T[]; next: string | undefined }>) {
    this.#page = page;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    let cursor: string | undefined;
    do {
      const { items, next } = await this.#page(cursor);
      yield* items;
      cursor = next;
    } while (cursor !== undefined);
  }

  /** All of them. */
  async all(): Promise<T[]> {
    const found: T[] = [];
    for await (const one of this) found.push(one);
    return found;
  }
}

/** A task as it was read, whose version then counts, or its id: whatever version it has. */
export type TaskRef = Task | number;

const id = (task: TaskRef): number => (typeof task === "number" ? task : task.id);
const ifMatch = (task: TaskRef) => ({ "If-Match": typeof task === "number" ? undefined : `"${task.version}"` });

/** Keeps a write one action over several calls, such as those before and after a reload. */
export interface WriteOptions extends CallOptions {
  key?: string;
}

/**
 * The tasks of whoever the token names.
 *
 * Every call takes `{ signal }`, and throws a TaskApiError or what the signal was aborted with. A write is one
 * action however often its request has to be sent.
 */
export function tasksApi(options: Options) {
  const http = new Http(options);
  const read = async <T>(path: string, query?: object, call: CallOptions = {}): Promise<T> =>
    (await http.send<T>("GET", path, { ...call, query })).data;
  const write = async <T>(method: string, path: string, body?: unknown, call: object = {}): Promise<T> =>
    (await http.send<T>(method, path, { ...call, body })).data;
  const pages = <T>(path: string, query: object, call: CallOptions) =>
    new Pages<T>(async (cursor) => {
      const { data, headers } = await http.send<T[]>("GET", path, { ...call, query: { ...query, cursor } });
      const [, next] = /[?&]cursor=([^&>]+)[^>]*>; *rel="?next/.exec(headers.get("Link") ?? "") ?? [];
      return { items: data, next: next && decodeURIComponent(next) };
    });

  return {
    http,
    /** Whose token it is; undefined where the cookie says so. */
    user: async (): Promise<string | undefined> => userOf(await http.tokens.get()),
    /** Forget the token: after somebody has signed in or out. */
    forgetToken: (): void => http.tokens.forget(),

    create: (task: NewTask, call?: WriteOptions) => write<Task>("POST", "/tasks", task, call),
    list: (query: TaskQuery = {}, call: CallOptions = {}) => pages<Task>("/tasks", query, call),
    get: (taskId: number, call?: CallOptions) => read<Task>(`/tasks/${taskId}`, undefined, call),
    /**
     * Change what is named. Of a task that was read: where somebody has changed other fields since, both
     * changes are kept; where the same, it throws `version_mismatch` with the values of both in `conflicts`.
     */
    async update(task: TaskRef, changes: TaskChanges, call?: WriteOptions): Promise<Task> {
      let base = task;
      for (;;) {
        try {
          return await write<Task>("PATCH", `/tasks/${id(task)}`, changes, { ...call, headers: ifMatch(base) });
        } catch (error) {
          if (!(error instanceof TaskApiError && error.is("version_mismatch")) || typeof task === "number") throw error;
          const found = conflicts(task, changes, error.current);
          if (found) throw Object.assign(error, { conflicts: found });
          base = error.current;
        }
      }
    },
    /** Set the state; safe to repeat, whoever else does. */
    complete: (task: TaskRef, completed = true, call?: WriteOptions) =>
      write<Task>("PATCH", `/tasks/${id(task)}/complete`, { completed }, call),
    /** Delete. A task that was read only as it was: otherwise `version_mismatch`. */
    remove: (task: TaskRef, call?: WriteOptions) =>
      write<void>("DELETE", `/tasks/${id(task)}`, undefined, { ...call, headers: ifMatch(task) }),
    restore: (taskId: number, call?: WriteOptions) => write<Task>("POST", `/tasks/${taskId}/restore`, undefined, call),
    /** Take the last change back; of a task that was read the one that led to it. Null: that was its creation. */
    undo: async (task: TaskRef, call?: WriteOptions) =>
      (await write<Task | "">("POST", `/tasks/${id(task)}/undo`, undefined, { ...call, headers: ifMatch(task) })) || null,
    /** Take back all that one request did; with `force` what has not changed since. */
    undoChange: (change: number, { force, ...call }: WriteOptions & { force?: boolean } = {}) =>
      write<Undone>("POST", `/tasks/undo/${change}`, undefined, { ...call, query: { force } }),

    count: async (filter: TaskFilter = {}, call?: CallOptions) =>
      (await read<{ count: number }>("/tasks/count", filter, call)).count,
    stats: (call?: CallOptions) => read<TaskStats>("/tasks/stats", undefined, call),
    recurrence: (query: RecurrenceQuery, call?: CallOptions) => read<string[]>("/tasks/recurrence", query, call),
    batch: (operations: Operation[], { atomic, ...call }: WriteOptions & { atomic?: boolean } = {}) =>
      write<BatchReply>("POST", "/tasks/batch", { operations }, { ...call, query: { atomic } }),
    completeAll: (filter: TaskFilter = {}, call?: WriteOptions) =>
      write<{ completed: number; change?: number | null }>("POST", "/tasks/complete-all", undefined, {
        ...call,
        query: filter,
      }),
    removeAll: (filter: TaskFilter, call?: WriteOptions) =>
      write<{ deleted: number; change?: number | null }>("DELETE", "/tasks", undefined, { ...call, query: filter }),

    history: (taskId?: number, call: CallOptions = {}) =>
      pages<TaskEvent>(taskId === undefined ? "/tasks/history" : `/tasks/${taskId}/history`, {}, call),
    trash: (call: CallOptions = {}) => pages<TrashedTask>("/tasks/trash", {}, call),
    emptyTrash: (call?: WriteOptions) => write<{ erased: number }>("DELETE", "/tasks/trash", undefined, call),

    /** What has changed since a cursor; without one, all there is. Ask on while `has_more`. */
    changes: (since?: string, { limit, ...call }: CallOptions & { limit?: number } = {}) =>
      read<Changes>("/tasks/changes", { since, limit }, call),
    /** Be told when to ask for the changes. */
    watch: (options: WatchOptions = {}): AsyncGenerator<Notice> => watch(http, options),

    /** The file's text. */
    export: (format: "ndjson" | "csv" = "ndjson", call?: CallOptions) => read<string>("/tasks/export", { format }, call),
    import: (
      file: string,
      {
        type = "application/x-ndjson",
        on_conflict,
        ...call
      }: WriteOptions & { type?: "application/x-ndjson" | "text/csv" | "application/json"; on_conflict?: "skip" | "update" } = {},
    ) =>
      write<ImportReply>("POST", "/tasks/import", file, {
        ...call,
        query: { on_conflict },
        headers: { "Content-Type": type },
      }),

    /** Addresses at which calendar programs read tasks that are due. */
    calendars: {
      /** Its `url` is in this answer alone: whoever has it can read these tasks. */
      create: (calendar: NewCalendar = {}, call?: WriteOptions) =>
        write<CreatedCalendar>("POST", "/calendar", calendar, call),
      list: (call?: CallOptions) => read<Calendar[]>("/calendar", undefined, call),
      /** Revoke its address. */
      remove: (calendarId: number, call?: WriteOptions) =>
        write<void>("DELETE", `/calendar/${calendarId}`, undefined, call),
    },
  };
}

export type TasksApi = ReturnType<typeof tasksApi>;
