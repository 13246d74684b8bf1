import { TabCopy } from "./copy.js";
import { TaskApiError } from "./errors.js";
import { watch } from "./events.js";
import { newKey, sleep } from "./http.js";
import { touched } from "./merge.js";
import { current } from "./overlay.js";
import { isForNow, isForOthers, refusal, send } from "./sending.js";
import { type Action, browserStore, type Edit, memoryStore, nothing, type State, type Store } from "./store.js";
import type { TasksApi } from "./tasks.js";
import type { NewTask, Task, TaskChanges } from "./types.js";

export type { Snapshot, Status } from "./copy.js";
export { matches, select } from "./select.js";
export { browserStore, memoryStore, type Store } from "./store.js";

/** A change that is shown already. */
export interface Change {
  /** The task's id; below 0 until the service has given it one. */
  id: number;
  /** The task as the service has it; undefined where it is gone. Rejects, and is taken back, where it is refused. */
  done: Promise<Task | undefined>;
  /** Make the opposite change. */
  undo(): Change;
}

/** What locks are asked for: `navigator.locks`, or what stands for it. */
export interface Locks {
  request(name: string, options: { signal: AbortSignal }, held: () => Promise<void>): Promise<unknown>;
}

export interface LiveOptions {
  /** Who is signed in, where the token does not say so: with SESSION_COOKIE. */
  user?: string;
  /** What to show until the copy is there: what the server has rendered. */
  initial?: Task[];
  store?: Store;
  locks?: Locks | undefined;
  /** How often to ask where the service has no stream of events, in ms; 30 seconds by default. */
  poll?: number;
  /** How long to wait after a failure at first, in ms; 1 second by default. */
  pause?: number;
}

const UNDOABLE = 100; // changes
const LONGEST = 30; // times the first pause
const GIVEN_UP = 5; // tries of a change that the service breaks down over

/** A copy of the tasks that is kept in the browser and follows the service; one for all of its tabs. */
export class LiveTasks extends TabCopy {
  readonly #api: TasksApi;
  readonly #options: LiveOptions;
  readonly #name: string;
  readonly #broken = new Map<string, number>();
  readonly #undoable: Change[] = [];
  readonly #greeted: Promise<void>;
  #stale = true; // whether there may be changes that were not asked for
  #watching: AbortController | undefined;
  #isOut = false; // somebody has signed out: nothing is asked until this tab is woken
  #woken = false;
  #wake: (() => void) | undefined;

  constructor(api: TasksApi, options: LiveOptions = {}) {
    const name = `task-api ${api.http.base}`;
    const runs = typeof window !== "undefined" || options.store !== undefined; // not on a server
    const store = options.store ?? (runs ? browserStore(name) : memoryStore());
    const channel = runs && typeof BroadcastChannel !== "undefined" ? new BroadcastChannel(name) : undefined;
    super(store, channel, options.initial ?? []);
    this.#api = api;
    this.#options = options;
    this.#name = name;
    this.#greeted = runs ? this.#greet() : this.ready;
    if (runs) void this.#greeted.then(() => this.#run());
  }

  // What the user does.

  create(fields: NewTask): Change {
    const [random = 0] = crypto.getRandomValues(new Uint32Array(1));
    const id = -(Date.now() * 1000 + (random % 1000));
    return this.#act({ kind: "create", id, fields }, () => this.remove(id));
  }

  /** Change what is named. Where somebody has changed the same meanwhile, it is refused with both values. */
  update(id: number, fields: TaskChanges): Change {
    const seen = this.get(id);
    return this.#act({ kind: "update", id, fields, ...(seen && { seen }) }, () => {
      const before = Object.keys(fields).filter((name) => name !== "series");
      return this.update(id, Object.fromEntries(before.map((name) => [name, seen?.[name as keyof Task] ?? null])));
    });
  }

  complete(id: number, completed = true): Change {
    return this.#act({ kind: "complete", id, completed }, () => this.complete(id, !completed));
  }

  remove(id: number): Change {
    const seen = this.get(id);
    return this.#act({ kind: "remove", id }, () => this.restore(id, seen));
  }

  /** Bring back a task from the trash; what it was, where that is to be shown at once. */
  restore(id: number, seen?: Task): Change {
    return this.#act({ kind: "restore", id, ...(seen && { seen }) }, () => this.remove(id));
  }

  /** Make the opposite of this tab's last change that was not undone; undefined where there is none. */
  undo(): Change | undefined {
    const last = this.#undoable.pop()?.undo();
    this.#undoable.pop(); // which is a change, too
    return last;
  }

  /** Erase the copy and what was not sent yet, in all tabs; for when somebody signs out. */
  async signOut(): Promise<void> {
    await this.#erase("");
    this.signedOut();
    this.say("signed_out");
  }

  /** Look whether there is something to do: somebody has signed in, the network is back. */
  wake = (): void => {
    this.#isOut = false;
    this.#noticed();
  };

  #noticed = (): void => {
    this.#stale = true;
    this.poke();
  };

  #act(about: Pick<Action, "kind" | "id"> & Partial<Action>, undo: () => Change): Change {
    const action: Action = { ...about, key: newKey(), at: Date.now() };
    const done = this.add(action);
    this.#save(action).then(
      () => this.poke(),
      (error: unknown) => this.settle(action, undefined, error as TaskApiError),
    );
    const change = { id: action.id, done, undo };
    this.#undoable.push(change);
    if (this.#undoable.length > UNDOABLE) this.#undoable.shift();
    return change;
  }

  async #save(action: Action): Promise<void> {
    await this.#greeted;
    await this.commit((state) => {
      const queue = [...state.queue, { ...action, id: current(state, action.id) }];
      return { state: { ...state, queue } };
    });
  }

  protected override signedOut(): void {
    this.#isOut = true;
    this.#api.forgetToken();
    this.#watching?.abort();
    super.signedOut();
  }

  async #erase(user: string): Promise<void> {
    await this.commit(() => ({ state: { ...nothing(), user }, remove: "all" }));
    this.#stale = true;
  }

  // Following the service: one tab does.

  async #run(): Promise<void> {
    const { signal } = this.ending;
    if (typeof window !== "undefined") {
      window.addEventListener("online", this.wake, { signal });
      document.addEventListener("visibilitychange", () => document.hidden || this.wake(), { signal });
    }
    if (signal.aborted) return;
    this.post({ type: "hello" });
    const locks = "locks" in this.#options ? this.#options.locks : globalThis.navigator?.locks;
    const follow = () => this.#follow();
    // Without locks each tab follows by itself: the store and the keys keep them apart.
    await (locks ? locks.request(this.#name, { signal }, follow).catch(() => undefined) : follow());
  }

  /** Show the stored copy, if it is of whoever is signed in. Offline nobody else can have signed in. */
  async #greet(): Promise<void> {
    try {
      await this.#identify();
    } catch (error) {
      if (isForOthers(error)) this.status = "signed_out";
      else await this.reload();
    }
    this.show();
  }

  /** Make sure that the copy is of whoever is signed in: what is another's is erased. */
  async #identify(): Promise<void> {
    const user = this.#options.user ?? (await this.#api.user());
    if (!this.state.revision) await this.reload();
    if (user !== undefined && this.state.user !== user) await this.#erase(user);
  }

  async #follow(): Promise<void> {
    const { signal } = this.ending;
    const { pause = 1000 } = this.#options;
    let failures = 0;
    this.leads = true;
    await this.reload(); // as the tab before left it
    while (!signal.aborted) {
      this.#woken = false;
      try {
        if (!this.#isOut) {
          await this.#identify();
          const sent = await this.#flush();
          if (this.#stale || (sent && this.status !== "live")) await this.#pull();
          if (!this.#watching) this.#watch();
          if (this.status !== "live") this.say("polling");
        } else this.say("signed_out");
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (isForOthers(error)) {
          if (error.code === "other_user") this.#api.forgetToken();
          else this.say("signed_out");
        } else this.say("offline");
        failures++;
      }
      const wait = failures && pause * Math.min(2 ** (failures - 1), LONGEST) * (1 + Math.random() / 2);
      if (!this.#woken) await this.#rest(wait);
    }
  }

  protected override poke(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** Wait until there is something to do, or for some ms where something has failed. */
  async #rest(ms: number): Promise<void> {
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const over = new AbortController();
    await (ms ? Promise.race([woken, sleep(ms, over.signal).catch(() => undefined)]) : woken);
    over.abort();
    this.#wake = undefined;
  }

  #watch(): void {
    const watching = new AbortController();
    this.#watching = watching;
    const signal = AbortSignal.any([this.ending.signal, watching.signal]);
    const { poll } = this.#options;
    const follow = async () => {
      const options = { since: this.state.cursor, signal, as: this.#as(), ...(poll && { poll }) };
      for await (const notice of watch(this.#api.http, options)) {
        this.say(notice.type === "poll" ? "polling" : "live");
        this.#noticed();
      }
    };
    follow()
      .catch(() => undefined) // signed out, or somebody else: the next request finds that out
      .finally(() => {
        this.#watching = undefined;
        if (this.status === "live") this.say("polling");
        this.#noticed();
      });
  }

  #as = (): string | undefined => this.state.user || undefined;

  #call = () => ({ signal: this.ending.signal, as: this.#as(), retries: 1 });

  /** Send what the user has done, in its order. */
  async #flush(): Promise<boolean> {
    let sent = false;
    for (let [action] = this.state.queue; action; [action] = this.state.queue) {
      let task: Task | undefined;
      let error: TaskApiError | undefined;
      try {
        action = await this.#begin(action);
        task = await send(this.#api.http, action, current(this.state, action.id), this.#call());
      } catch (failure) {
        this.ending.signal.throwIfAborted();
        if (isForOthers(failure) || !(failure instanceof TaskApiError)) throw failure;
        const tries = (this.#broken.get(action.key) ?? 0) + 1;
        if (isForNow(failure) && !(failure.status === 500 && tries >= GIVEN_UP)) {
          this.#broken.set(action.key, tries);
          throw failure;
        }
        error = failure;
      }
      sent = true;
      const { key } = action;
      await this.commit((state) => this.#answered(state, key, task, error), { action, task, ...(error && { error }) });
    }
    return sent;
  }

  /** Write down that it is sent before it is: after a reload its answer may have been lost. */
  async #begin(action: Action): Promise<Action> {
    if (action.sent !== undefined) return action;
    if (action.kind !== "create" && current(this.state, action.id) < 0) {
      throw new TaskApiError(404, { code: "task_not_found", detail: "The task was not created" });
    }
    const task = this.tasks.get(current(this.state, action.id));
    const refused = action.kind === "update" && task && refusal(action, task);
    if (refused) throw refused;
    const begun: Action = { ...action, sent: Date.now(), ...(task && { version: task.version }) };
    await this.commit((state) => ({
      state: { ...state, queue: state.queue.map((one) => (one.key === action.key ? begun : one)) },
    }));
    return begun;
  }

  #answered(state: State, key: string, task: Task | undefined, error: TaskApiError | undefined): Edit {
    const action = state.queue.find((one) => one.key === key);
    if (!action) return { state };
    let queue = state.queue.filter((one) => one.key !== key);
    if (error) {
      const now = error.is("version_mismatch") ? error.current : undefined;
      if (action.kind === "update" && action.seen) queue = rebased(queue, action, action.seen);
      return { state: { ...state, queue }, put: now && this.#isNews(now) ? [now] : [] };
    }
    if (!task) return { state: { ...state, queue }, remove: [action.id] };
    const ids = action.id < 0 ? { ...state.ids, [action.id]: task.id } : state.ids;
    queue = rebased(queue, action, task).map((one) => (one.id === action.id ? { ...one, id: task.id } : one));
    return { state: { ...state, queue, ids }, put: this.#isNews(task) ? [task] : [] };
  }

  #isNews = (task: Task): boolean => (this.tasks.get(task.id)?.version ?? -1) <= task.version;

  /** Ask for what has changed until there is nothing more. */
  async #pull(): Promise<void> {
    this.#stale = false;
    const fresh = new Map<number, Task>();
    let since = this.state.cursor;
    let anew = since === undefined;
    for (let more = true; more; ) {
      try {
        const { data } = await this.#api.http.send<Awaited<ReturnType<TasksApi["changes"]>>>("GET", "/tasks/changes", {
          ...this.#call(),
          query: { since },
        });
        more = data.has_more;
        const from = since;
        since = data.cursor;
        if (anew) {
          for (const change of data.changes) {
            if (change.type === "upsert") fresh.set(change.task.id, change.task);
            else fresh.delete(change.id);
          }
          const put = [...fresh.values()];
          if (!more) await this.commit((state) => ({ state: { ...state, cursor: since }, put, remove: "all" }));
          continue;
        }
        if (!data.changes.length && from === since) continue;
        await this.commit((state) => {
          if (state.cursor !== from) return { state }; // another tab was here: it asks again
          const put = data.changes.flatMap((change) => (change.type === "upsert" ? [change.task] : []));
          const remove = data.changes.flatMap((change) => (change.type === "delete" ? [change.id] : []));
          return { state: { ...state, cursor: since }, put: put.filter(this.#isNews), remove };
        });
        since = this.state.cursor;
      } catch (error) {
        this.#stale = true;
        if (!(error instanceof TaskApiError && error.status === 410) || since === undefined) throw error;
        since = undefined;
        anew = true;
        more = true;
        fresh.clear();
        this.#stale = false;
      }
    }
  }
}

/** Later changes of the task were made of what this one showed: let that be what has become of it. */
function rebased(queue: Action[], action: Action, task: Task): Action[] {
  const own = new Set<keyof Task>(action.kind === "create" ? (Object.keys(task) as (keyof Task)[]) : fieldsOf(action));
  return queue.map((one) => {
    if (one.id !== action.id) return one;
    const seen = one.seen && { ...one.seen, ...Object.fromEntries([...own].map((field) => [field, task[field]])) };
    for (const field of fieldsOf(one)) own.delete(field);
    return seen ? { ...one, seen: seen as Task } : one;
  });
}

const fieldsOf = ({ kind, fields }: Action): (keyof Task)[] =>
  kind === "complete" ? ["completed"] : kind === "update" ? touched(fields as TaskChanges) : [];

/** A copy of `api`'s tasks that follows the service; one for a page. */
export const liveTasks = (api: TasksApi, options?: LiveOptions): LiveTasks => new LiveTasks(api, options);
