import { TaskApiError } from "./errors.js";
import { current, overlaid } from "./overlay.js";
import { type Action, type Edit, nothing, type State, type Store } from "./store.js";
import type { Task } from "./types.js";

/** How the copy stands: `live` hears of changes as they come, `polling` asks for them. */
export type Status = "loading" | "live" | "polling" | "offline" | "signed_out";

/** What there is to show; another object after every change. */
export interface Snapshot {
  tasks: ReadonlyMap<number, Task>;
  status: Status;
  /** Whether the copy is there, from the store or from the service. */
  ready: boolean;
  /** How many changes the service has not answered yet. */
  pending: number;
}

interface Waiting {
  resolve(task: Task | undefined): void;
  reject(error: unknown): void;
}

/** What has become of a change. */
interface Outcome {
  action: Action;
  task?: Task | undefined;
  error?: TaskApiError;
}

/** What one tab tells the others. The store has it all: who has missed something reads that. */
type Message =
  | { type: "edit"; from: number; edit: Edit; done?: { action: Action; task?: Task | undefined; error?: object } }
  | { type: "status"; status: Status }
  | { type: "hello" };

/** The copy as one tab has it: what is stored, what the user has done since, and what other tabs say of it. */
export abstract class TabCopy {
  readonly #store: Store;
  readonly #channel: BroadcastChannel | undefined;
  protected readonly ending = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #refusals = new Set<(error: TaskApiError, action: Action) => void>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #initial: Map<number, Task>;
  protected tasks = new Map<number, Task>();
  protected state: State = nothing();
  #unsaved: Action[] = [];
  protected status: Status = "loading";
  #shown: Snapshot;
  #writing: Promise<unknown> = Promise.resolve();
  protected leads = false; // whether this tab is the one that follows
  #isReady = false;
  #resolveReady!: () => void;
  /** Settles once the copy is there, from the store or from the service. */
  readonly ready = new Promise<void>((resolve) => {
    this.#resolveReady = resolve;
  });

  constructor(store: Store, channel: BroadcastChannel | undefined, initial: Task[]) {
    this.#store = store;
    this.#channel = channel;
    this.#initial = new Map(initial.map((task) => [task.id, task]));
    this.#shown = { tasks: this.#initial, status: "loading", ready: false, pending: 0 };
    channel?.addEventListener("message", ({ data }) => this.#hear(data as Message));
  }

  /** Be told that there is something to do. */
  protected abstract poke(): void;

  /** Be called after every change, until the function that is returned is. */
  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): Snapshot => this.#shown;

  /** A task by its id, also by the one that it had before the service gave it its own. */
  get = (id: number): Task | undefined => this.#shown.tasks.get(current(this.state, id));

  /** Be told what the service has refused, of this tab's changes and of those before a reload. */
  onRefused(listener: (error: TaskApiError, action: Action) => void): () => void {
    this.#refusals.add(listener);
    return () => this.#refusals.delete(listener);
  }

  /** Show a change, and return what becomes of it. */
  protected add(action: Action): Promise<Task | undefined> {
    const done = new Promise<Task | undefined>((resolve, reject) => this.#waiting.set(action.key, { resolve, reject }));
    done.catch(() => undefined); // whoever waits for it is told; nobody has to
    this.#unsaved.push(action);
    this.show();
    return done;
  }

  #queue(): Action[] {
    const saved = new Set(this.state.queue.map(({ key }) => key));
    return [...this.state.queue, ...this.#unsaved.filter(({ key }) => !saved.has(key))];
  }

  protected show(): void {
    const queue = this.#queue();
    // Who is signed out sees nothing; what is stored is for whoever signs in again, or is erased by others.
    const tasks = new Map(this.status === "signed_out" ? [] : this.#isReady ? this.tasks : this.#initial);
    const shown = overlaid(tasks, this.state, queue);
    this.#shown = { tasks: shown, status: this.status, ready: this.#isReady, pending: queue.length };
    for (const listener of this.#listeners) listener();
  }

  protected say(status: Status): void {
    if (this.status === status) return;
    this.status = status;
    this.show();
    this.post({ type: "status", status });
  }

  #apply({ state, put = [], remove = [] }: Edit): void {
    if (remove === "all") this.tasks = new Map();
    else for (const id of remove) this.tasks.delete(id);
    for (const task of put) this.tasks.set(task.id, task);
    if (this.state.user && state.user !== this.state.user) this.#unsaved = []; // they were somebody else's
    this.state = state;
    if (state.cursor !== undefined && !this.#isReady) {
      this.#isReady = true;
      this.#resolveReady();
    }
    const saved = new Set(state.queue.map(({ key }) => key));
    this.#unsaved = this.#unsaved.filter(({ key }) => !saved.has(key));
  }

  async #load(): Promise<void> {
    const { state, tasks } = await this.#store.read();
    this.#apply({ state, put: tasks, remove: "all" });
    // What another tab has settled while this one did not listen.
    const open = new Set(this.#queue().map(({ key }) => key));
    for (const [key, waiting] of this.#waiting) {
      if (open.has(key)) continue;
      this.#waiting.delete(key);
      waiting.resolve(undefined);
    }
  }

  /** Change what is stored, by one tab at a time: whoever comes second reads what the first has written. */
  protected commit(edit: (state: State) => Edit, done?: Outcome): Promise<void> {
    const written = this.#writing.then(async () => {
      for (;;) {
        const from = this.state.revision;
        const made = edit(this.state);
        made.state = { ...made.state, revision: from + 1 };
        if (!(await this.#store.write(from, made))) {
          await this.#load();
          continue;
        }
        this.#apply(made);
        const told = done && { action: done.action, task: done.task, ...(done.error && { error: plain(done.error) }) };
        if (!this.ending.signal.aborted) {
          this.#channel?.postMessage({ type: "edit", from, edit: made, ...(told && { done: told }) } satisfies Message);
        }
        if (done) this.settle(done.action, done.task, done.error);
        this.show();
        return;
      }
    });
    this.#writing = written.catch(() => undefined);
    return written;
  }

  #hear(message: Message): void {
    if (message.type === "hello") {
      if (this.leads) this.#channel?.postMessage({ type: "status", status: this.status } satisfies Message);
      return;
    }
    if (message.type === "status") {
      if (this.leads) return;
      this.status = message.status;
      this.show();
      return;
    }
    const { from, edit, done } = message;
    this.#writing = this.#writing.then(async () => {
      if (edit.state.revision > this.state.revision) {
        const { user } = this.state;
        if (from === this.state.revision) this.#apply(edit);
        else await this.#load();
        if (user && !this.state.user) this.signedOut();
      }
      if (done) this.settle(done.action, done.task, done.error && revived(done.error));
      this.show();
      if (edit.state.queue.length) this.poke();
    });
  }

  /** Whoever was signed in is not any more, in this tab or another: what was not sent is gone. */
  protected signedOut(): void {
    const gone = new TaskApiError(401, { code: "signed_out", detail: "It was not sent: somebody has signed out" });
    for (const waiting of this.#waiting.values()) waiting.reject(gone);
    this.#waiting.clear();
  }

  protected settle(action: Action, task: Task | undefined, error?: TaskApiError): void {
    const waiting = this.#waiting.get(action.key);
    this.#waiting.delete(action.key);
    this.#unsaved = this.#unsaved.filter(({ key }) => key !== action.key);
    if (error) {
      waiting?.reject(error);
      for (const listener of this.#refusals) listener(error, action);
    } else waiting?.resolve(task);
    this.show();
  }

  protected reload(): Promise<void> {
    const loaded = this.#writing.then(() => this.#load());
    this.#writing = loaded.catch(() => undefined);
    return loaded;
  }

  protected post(message: Message): void {
    if (!this.ending.signal.aborted) this.#channel?.postMessage(message);
  }

  /** Stop following. What was not sent yet is sent by another tab, or the next time. */
  close(): void {
    this.ending.abort();
    this.poke();
    this.#channel?.close();
    void this.#writing.then(() => this.#store.close());
  }
}

/** An error as it can be posted to another tab. */
function plain(error: TaskApiError): object {
  return { ...error, requestId: undefined, name: undefined, request_id: error.requestId };
}

function revived(error: object): TaskApiError {
  const { status, retryAfter, requestId: _, name: __, ...problem } = error as TaskApiError;
  return new TaskApiError(status, problem, { retryAfter });
}
