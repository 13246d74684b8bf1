import type { NewTask, Task, TaskChanges } from "./types.js";

/** One change that the user has made and the service has not answered yet. */
export interface Action {
  /** Its Idempotency-Key, over all tries and reloads. */
  key: string;
  kind: "create" | "update" | "complete" | "remove" | "restore";
  /** The task's id; below 0 that of one that is not created yet. */
  id: number;
  fields?: NewTask | TaskChanges;
  /** The task as the user saw it: what an update was made of, and what a restore brings back. */
  seen?: Task;
  completed?: boolean;
  at: number;
  /** When it was first sent, and at which version of the task. */
  sent?: number;
  version?: number;
}

/** What is kept beside the tasks. */
export interface State {
  user: string;
  /** Counts the writes of all tabs. */
  revision: number;
  cursor?: string | undefined;
  queue: Action[];
  /** The ids that tasks made here have now. */
  ids: Record<number, number>;
}

export interface Copy {
  state: State;
  tasks: Task[];
}

/** What one write changes. */
export interface Edit {
  state: State;
  put?: Task[];
  remove?: number[] | "all";
}

/** Where a copy is kept. Both are one transaction, over all tabs that have the same store. */
export interface Store {
  read(): Promise<Copy>;
  /** Write, unless somebody has written since `revision`: then it changes nothing and returns false. */
  write(revision: number, edit: Edit): Promise<boolean>;
  close(): void;
}

export const nothing = (): State => ({ user: "", revision: 0, queue: [], ids: {} });

/** Keeps a copy as long as the page lives. */
export function memoryStore(): Store {
  let copy: { state: State; tasks: Map<number, Task> } = { state: nothing(), tasks: new Map() };
  return {
    read: async () => structuredClone({ state: copy.state, tasks: [...copy.tasks.values()] }),
    write: async (revision, edit) => {
      if (copy.state.revision !== revision) return false;
      const { state, put = [], remove = [] } = structuredClone(edit);
      const tasks = remove === "all" ? new Map<number, Task>() : new Map(copy.tasks);
      if (remove !== "all") for (const id of remove) tasks.delete(id);
      for (const task of put) tasks.set(task.id, task);
      copy = { state, tasks };
      return true;
    },
    close: () => undefined,
  };
}

const STATE = "state";
const TASKS = "tasks";

/** Keeps a copy in the browser's IndexedDB; in memory where there is none, or where it may not be used. */
export function browserStore(name: string): Store {
  const opened = open(name).catch(() => undefined);
  const instead = memoryStore();
  return {
    async read() {
      const database = await opened;
      if (!database) return instead.read();
      const transaction = database.transaction([STATE, TASKS]);
      const [state, tasks] = await Promise.all([
        asked<State | undefined>(transaction.objectStore(STATE).get(STATE)),
        asked<Task[]>(transaction.objectStore(TASKS).getAll()),
      ]);
      return { state: state ?? nothing(), tasks };
    },
    async write(revision, edit) {
      const database = await opened;
      if (!database) return instead.write(revision, edit);
      const transaction = database.transaction([STATE, TASKS], "readwrite");
      const [states, tasks] = [transaction.objectStore(STATE), transaction.objectStore(TASKS)];
      const state = await asked<State | undefined>(states.get(STATE));
      if ((state?.revision ?? 0) !== revision) return false;
      states.put(edit.state, STATE);
      if (edit.remove === "all") tasks.clear();
      else for (const id of edit.remove ?? []) tasks.delete(id);
      for (const task of edit.put ?? []) tasks.put(task);
      await new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = transaction.onerror = () => reject(transaction.error);
      });
      return true;
    },
    close: () => void opened.then((database) => database?.close()),
  };
}

async function open(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(STATE);
    request.result.createObjectStore(TASKS, { keyPath: "id" });
  };
  return asked(request);
}

function asked<T>(request: IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => reject(request.error);
  });
}
