import { plain, revived, TaskApiError } from "./errors.js";
import { current, overlaid } from "./overlay.js";
import { type Action, type Edit, memoryStore, nothing, type State, type Store } from "./store.js";
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
  action: Action;
  resolve(task: Task | undefined): void;
  reject(error: unknown): void;
}

/** What has become of a change. */
interface Outcome {
  action: Action;
  task?: Task | undefined;
  error?: TaskApiError | undefined;
}

/** What one tab tells the others. The store has it all: who has missed something reads that. */
type Message =
  | { type: "edit"; from: number; edit: Edit; done?: { action: Action; task?: Task | undefined; error?: object } }
  | { type: "status"; status: Status }
  | { type: "look"; signedIn: boolean }
  | { type: "hello" };

type Refused = (error: TaskApiError, action: Action) => void;

/** The copy as one tab has it: what is stored, what the user has done since, and what other tabs say of it. */
export abstract class TabCopy {
  #store: Store;
  #channel: BroadcastChannel | undefined;
  protected readonly ending = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #refusals = new Set<Refused>();
  readonly #failures = new Set<(error: unknown) => void>();
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

  /** Settles once it is known whose copy it is, or that this cannot be known now. */
  protected abstract readonly greeted: Promise<void>;

  /** Be told that there is something to do. */
  protected abstract poke(): void;

  /** Look whether something has changed, perhaps who is signed in. */
  protected abstract look(signedIn: boolean): void;

  /** Be told that what was there is erased: somebody else is signed in, or nobody. */
  protected abstract erased(): void;

  /** Be told that this tab shares its copy with no other any more. */
  protected abstract alone(): void;

  /** Be called after every change, until the function that is returned is. */
  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): Snapshot => this.#shown;

  /** A task by its id, also by the one that it had before the service gave it its own. */
  get = (id: number): Task | undefined => this.#shown.tasks.get(current(this.state, id));

  /** Be told what the service has refused, of this tab's changes and of those before a reload. */
  onRefused(listener: Refused): () => void {
    this.#refusals.add(listener);
    return () => this.#refusals.delete(listener);
  }

  /** Be told that the browser cannot keep the copy: from then on this tab has one of its own, while it is open. */
  onError(listener: (error: unknown) => void): () => void {
    this.#failures.add(listener);
    return () => this.#failures.delete(listener);
  }

  /** Show a change, and return what becomes of it. */
  protected add(action: Action): Promise<Task | undefined> {
    const done = new Promise<Task | undefined>((resolve, reject) =>
      this.#waiting.set(action.key, { action, resolve, reject }),
    );
    done.catch(() => undefined); // whoever waits for it is told; nobody has to
    if (this.status === "signed_out") this.settle({ action, error: unsent("") });
    else this.#unsaved.push(action);
    this.show();
    return done;
  }

  /** Put it behind what was done before, unless that was erased meanwhile. */
  protected save(action: Action): Promise<void> {
    return this.commit((state) => {
      if (!this.#unsaved.includes(action)) return undefined;
      return { state: { ...state, queue: [...state.queue, { ...action, id: current(state, action.id) }] } };
    });
  }

  #queue(): Action[] {
    const saved = new Set(this.state.queue.map(({ key }) => key));
    return [...this.state.queue, ...this.#unsaved.filter(({ key }) => !saved.has(key))];
  }

  protected show(): void {
    const queue = this.#queue();
    // Who is signed out sees nothing; what is stored is for whoever signs in again, or is erased by others.
    const isOut = this.status === "signed_out";
    const tasks = isOut ? new Map<number, Task>() : new Map(this.#isReady ? this.tasks : this.#initial);
    const shown = isOut ? tasks : overlaid(tasks, this.state, queue);
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
    const isErased = this.state.revision > 0 && state.era !== this.state.era;
    this.state = state;
    if (isErased) this.#forget();
    if (state.cursor !== undefined && !this.#isReady) {
      this.#isReady = true;
      this.#resolveReady();
    }
    const saved = new Set(state.queue.map(({ key }) => key));
    this.#unsaved = this.#unsaved.filter(({ key }) => !saved.has(key));
  }

  /** What was done before is not done any more, in this tab as in the others. */
  #forget(): void {
    for (const { reject } of this.#waiting.values()) reject(unsent(this.state.user));
    this.#waiting.clear();
    this.#unsaved = [];
    this.erased();
  }

  async #load(): Promise<void> {
    let copy: Awaited<ReturnType<Store["read"]>>;
    try {
      copy = await this.#store.read();
    } catch (error) {
      return this.#part(error);
    }
    const { state, tasks } = copy;
    this.#apply({ state, put: tasks, remove: "all" });
    // What another tab has settled, before it could tell.
    const open = new Set(this.#queue().map(({ key }) => key));
    for (const [key, { action, resolve, reject }] of this.#waiting) {
      if (open.has(key)) continue;
      this.#waiting.delete(key);
      const refused = state.refused[key];
      if (refused) reject(revived(refused));
      else resolve(this.tasks.get(current(state, action.id)));
    }
  }

  /** Go on without a store that fails, and so without the other tabs. */
  #part(error: unknown): void {
    this.#leave();
    this.#store = memoryStore({ state: this.state, tasks: [...this.tasks.values()] });
    for (const listener of this.#failures) listener(error);
    this.alone();
  }

  /**
   * Change what is stored, by one tab at a time: whoever comes second reads what the first has written. Where
   * `edit` returns nothing there is nothing to change any more.
   */
  protected commit(edit: (state: State) => Edit | undefined, done?: Outcome): Promise<void> {
    const written = this.#writing.then(async () => {
      for (;;) {
        const from = this.state.revision;
        const made = edit(this.state);
        if (made) {
          made.state = { ...made.state, revision: from + 1 };
          try {
            if (!(await this.#store.write(from, made))) {
              await this.#load();
              continue;
            }
          } catch (error) {
            this.#part(error);
            continue;
          }
          this.#apply(made);
          const told = done && { action: done.action, task: done.task, ...(done.error && { error: plain(done.error) }) };
          this.post({ type: "edit", from, edit: made, ...(told && { done: told }) });
        }
        if (done) this.settle(done);
        this.show();
        return;
      }
    });
    this.#writing = written.catch(() => undefined);
    return written;
  }

  #hear(message: Message): void {
    if (this.ending.signal.aborted) return;
    if (message.type === "hello") {
      if (this.leads) this.post({ type: "status", status: this.status });
      return;
    }
    if (message.type === "look") return this.looks(message.signedIn);
    if (message.type === "status") {
      if (this.leads) return;
      this.status = message.status;
      this.show();
      return;
    }
    const { from, edit, done } = message;
    this.#writing = this.#writing.then(async () => {
      const { user } = this.state;
      if (edit.state.revision > this.state.revision) {
        if (from === this.state.revision) this.#apply(edit);
        else await this.#load();
      }
      if (done) this.settle({ ...done, error: done.error && revived(done.error) });
      this.show();
      if (edit.state.queue.length || user !== this.state.user) this.poke();
    });
  }

  /** Look once all is heard that was said before. */
  protected looks(signedIn: boolean): void {
    this.#writing = this.#writing.then(() => this.look(signedIn));
  }

  protected settle({ action, task, error }: Outcome): void {
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
    this.#channel?.postMessage(message);
  }

  /** Stop following. What was not sent yet is sent by another tab, or the next time. */
  close(): void {
    this.ending.abort();
    this.poke();
    void this.greeted.then(() => this.#writing).then(() => this.#leave());
  }

  #leave(): void {
    this.#store.close();
    this.#channel?.close();
    this.#channel = undefined;
  }
}

/** The refusal of what was not answered, because of who is signed in. */
const unsent = (user: string): TaskApiError =>
  user
    ? new TaskApiError(401, { code: "other_user", detail: "Somebody else signed in before it was answered" })
    : new TaskApiError(401, { code: "signed_out", detail: "It was not sent: nobody is signed in" });
