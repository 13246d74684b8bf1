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
  /** Empty as long as nobody is known to be signed in. */
  user: string;
  /** Counts the writes of all tabs. */
  revision: number;
  /** Counts what was erased: what was done before is not done after. */
  era: number;
  cursor?: string | undefined;
  queue: Action[];
  /** What was refused lately, by key, for tabs that were not told. */
  refused: Record<string, object>;
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

/** Where a copy is kept. Both are one transaction, over all tabs that have the same store, and reject where it fails. */
export interface Store {
  read(): Promise<Copy>;
  /** Write, unless somebody has written since `revision`: then it changes nothing and returns false. */
  write(revision: number, edit: Edit): Promise<boolean>;
  close(): void;
}

export const nothing = (): State => ({ user: "", revision: 0, era: 0, queue: [], refused: {}, ids: {} });

/** A state as it was stored, perhaps by an older client; nothing, where it is none. */
function known(stored: Partial<State> | undefined): State {
  const isState = stored && Number.isSafeInteger(stored.revision) && Array.isArray(stored.queue);
  return isState ? { ...nothing(), ...stored } : nothing();
}

/** Keeps a copy as long as the page lives. */
export function memoryStore(from: Copy = { state: nothing(), tasks: [] }): Store {
  let { state } = from;
  const tasks = new Map(from.tasks.map((task) => [task.id, task]));
  return {
    read: async () => structuredClone({ state: known(state), tasks: [...tasks.values()] }),
    write: async (revision, edit) => {
      if (state.revision !== revision) return false;
      const { state: next, put = [], remove = [] } = structuredClone(edit);
      if (remove === "all") tasks.clear();
      else for (const id of remove) tasks.delete(id);
      for (const task of put) tasks.set(task.id, task);
      state = next;
      return true;
    },
    close: () => undefined,
  };
}

const STATE = "state";
const TASKS = "tasks";

/** Keeps a copy in the browser's IndexedDB. Its promises reject where there is none, or where it is full or broken. */
export function browserStore(name: string): Store {
  const opened = open(name);
  opened.catch(() => undefined); // whoever reads or writes is told
  return {
    async read() {
      const transaction = (await opened).transaction([STATE, TASKS]);
      const [state, tasks] = await Promise.all([
        asked<Partial<State> | undefined>(transaction.objectStore(STATE).get(STATE)),
        asked<Task[]>(transaction.objectStore(TASKS).getAll()),
      ]);
      return { state: known(state), tasks };
    },
    async write(revision, edit) {
      const transaction = (await opened).transaction([STATE, TASKS], "readwrite");
      const done = new Promise<void>((resolve, reject) => {
        transaction.oncomplete = () => resolve();
        transaction.onabort = () => reject(transaction.error ?? new Error("the browser's storage gave up"));
      });
      done.catch(() => undefined); // where an earlier step rejects
      const [states, tasks] = [transaction.objectStore(STATE), transaction.objectStore(TASKS)];
      if (known(await asked<Partial<State> | undefined>(states.get(STATE))).revision !== revision) return false;
      states.put(edit.state, STATE);
      if (edit.remove === "all") tasks.clear();
      else for (const id of edit.remove ?? []) tasks.delete(id);
      for (const task of edit.put ?? []) tasks.put(task);
      await done;
      return true;
    },
    close: () => void opened.then((database) => database.close()).catch(() => undefined),
  };
}

async function open(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(STATE);
    request.result.createObjectStore(TASKS, { keyPath: "id" });
  };
  const database = await asked<IDBDatabase>(request);
  database.onversionchange = () => database.close(); // another client's: it must not wait for this page
  return database;
}

function asked<T>(request: IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result as T);
    request.onerror = () => reject(request.error);
  });
}
