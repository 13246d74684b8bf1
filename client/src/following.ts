import { TabCopy } from "./copy.js";
import { TaskApiError } from "./errors.js";
import { watch } from "./events.js";
import { sleep } from "./http.js";
import { current } from "./overlay.js";
import { answered } from "./queue.js";
import { isBroken, isForNow, isForOthers, refusal, send } from "./sending.js";
import { type Action, browserStore, type Edit, memoryStore, nothing, type State, type Store } from "./store.js";
import type { TasksApi } from "./tasks.js";
import type { Changes, Task } from "./types.js";

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

const LONGEST = 30; // times the first pause
const LONGEST_SAID = 300; // seconds of a Retry-After
const GIVEN_UP = 5; // tries of a change that the service breaks down over

/** How a copy keeps up with the service: one tab sends what the user has done, and asks for what others have. */
export abstract class Following extends TabCopy {
  protected readonly api: TasksApi;
  readonly #options: LiveOptions;
  readonly #name: string;
  readonly #broken = new Map<string, number>();
  protected override readonly greeted: Promise<void>;
  #identified = false; // whether it is known who is signed in, or that the cookie says so
  #isAlone: boolean; // whether it shares its copy with no other tab
  #stint = new AbortController(); // as long as this tab follows, or waits for its turn
  #frozen: Promise<void> | undefined;
  #thaw: (() => void) | undefined;
  #stale = true; // whether there may be changes that were not asked for
  #watching: AbortController | undefined;
  #isOut = false; // somebody has signed out: nothing is asked until somebody signs in
  #woken = false;
  #wake: (() => void) | undefined;

  constructor(api: TasksApi, options: LiveOptions = {}) {
    const name = `task-api ${api.http.base}`;
    const runs = typeof window !== "undefined" || options.store !== undefined; // not on a server
    const store = options.store ?? (runs ? browserStore(name) : memoryStore());
    const channel = runs && typeof BroadcastChannel !== "undefined" ? new BroadcastChannel(name) : undefined;
    super(store, channel, options.initial ?? []);
    this.api = api;
    this.#options = options;
    this.#name = name;
    this.#isAlone = channel === undefined;
    this.greeted = runs ? this.#greet() : this.ready;
    if (runs) void this.greeted.then(() => this.#run());
  }

  protected override poke(): void {
    this.#woken = true;
    this.#wake?.();
  }

  protected override look(signedIn: boolean): void {
    if (signedIn) this.#isOut = false;
    // A stream that waits for its next try begins that now.
    if (this.status !== "live") this.#watching?.abort();
    this.#stale = true;
    this.poke();
  }

  protected override erased(): void {
    this.#isOut = !this.state.user;
    if (this.#isOut) this.status = "signed_out";
    this.api.forgetToken();
    this.#restart(); // and nothing of theirs is sent any more
  }

  protected override alone(): void {
    this.#isAlone = true;
    this.#restart();
  }

  #restart(): void {
    this.#stint.abort();
    this.poke();
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
    let user = this.#options.user ?? (await this.api.user());
    if (!this.state.revision) await this.reload();
    const { era } = this.state;
    if (user !== undefined && this.state.user && user !== this.state.user && this.#options.user === undefined) {
      this.api.forgetToken(); // it may be of before: another tab may know who has signed in since
      user = await this.api.user();
    }
    this.#identified = true;
    await this.commit((state) => {
      // Since then another tab may have found out more: what this one knows is of before.
      if (user === undefined || user === state.user || state.era !== era) return undefined;
      if (!state.user && state.cursor === undefined) return { state: { ...state, user } };
      return { state: { ...nothing(), user, era: state.era + 1 }, remove: "all" };
    });
  }

  /** Nothing is stored before it is known whose it is: the next one here may be another. */
  protected override async save(action: Action): Promise<void> {
    await this.greeted;
    const isKnown = () => this.#identified || this.state.user !== "";
    if (!isKnown()) {
      await new Promise<void>((resolve) => {
        const stop = this.subscribe(() => {
          if (!isKnown()) return;
          stop();
          resolve();
        });
      });
    }
    await super.save(action);
  }

  async #run(): Promise<void> {
    const { signal } = this.ending;
    this.#listen(signal);
    while (!signal.aborted) {
      this.#stint = new AbortController();
      const both = AbortSignal.any([signal, this.#stint.signal]);
      this.post({ type: "hello" });
      const locks = "locks" in this.#options ? this.#options.locks : globalThis.navigator?.locks;
      const follow = () => this.#follow(both);
      // Without locks each tab follows by itself: the store and the keys keep them apart.
      if (!this.#frozen) {
        if (!locks || this.#isAlone) await follow();
        else await locks.request(this.#name, { signal: both }, follow).catch(() => (this.#isAlone ||= !both.aborted));
      }
      await this.#frozen;
    }
  }

  /** A page that is shown again looks at once; one that is put away leaves the following to others. */
  #listen(signal: AbortSignal): void {
    if (typeof window === "undefined") return;
    const shown = () => {
      this.looks(false);
      this.post({ type: "look", signedIn: false }); // whoever follows may be hidden, and its timers slow
    };
    const frozen = () => {
      this.#frozen ??= new Promise((resolve) => {
        this.#thaw = resolve;
      });
      this.#restart();
    };
    const thawed = () => {
      this.#thaw?.();
      this.#frozen = undefined;
      shown();
    };
    window.addEventListener("online", shown, { signal });
    window.addEventListener("pagehide", frozen, { signal });
    window.addEventListener("pageshow", ({ persisted }) => persisted && thawed(), { signal });
    document.addEventListener("freeze", frozen, { signal });
    document.addEventListener("resume", thawed, { signal });
    document.addEventListener("visibilitychange", () => document.hidden || shown(), { signal });
  }

  /** Follow until `signal` ends it. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { pause = 1000 } = this.#options;
    let failures = 0;
    this.leads = true;
    this.#stale = true;
    await this.reload(); // as the tab before left it
    while (!signal.aborted) {
      this.#woken = false;
      let said = 0;
      try {
        if (!this.#isOut || this.state.user) {
          await this.#identify();
          const { era, user } = this.state;
          const call = { signal, as: user || undefined, retries: 1 };
          const sent = await this.#flush(era, call);
          if (this.#stale || (sent && this.status !== "live")) await this.#pull(era, call);
          if (!this.#watching) this.#watch(call);
          if (this.status !== "live") this.say("polling");
        } else this.say("signed_out");
        failures = 0;
      } catch (error) {
        if (signal.aborted) break;
        if (isForOthers(error)) {
          if (error.code === "other_user") this.api.forgetToken();
          else this.say("signed_out");
        } else this.say("offline");
        if (error instanceof TaskApiError) said = Math.min(error.retryAfter ?? 0, LONGEST_SAID) * 1000;
        failures++;
      }
      const wait = failures && Math.max(said, pause * Math.min(2 ** (failures - 1), LONGEST)) * (1 + Math.random() / 2);
      if (!this.#woken) await this.#rest(wait);
    }
    this.leads = false;
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

  #watch({ signal: stint, as }: Asked): void {
    const watching = new AbortController();
    this.#watching = watching;
    const signal = AbortSignal.any([stint, watching.signal]);
    const { poll = 30_000 } = this.#options;
    const noticed = () => {
      if (this.status === "live") this.say("polling");
      this.#stale = true;
      this.poke();
    };
    const follow = async () => {
      for await (const notice of watch(this.api.http, { since: this.state.cursor, signal, as, poll })) {
        this.say(notice.type === "poll" ? "polling" : "live");
        this.#stale = true;
        this.poke();
      }
    };
    follow()
      .catch(() => {
        // Signed out, or somebody else: the next request finds that out. If it does not, the stream alone is barred.
        noticed();
        return sleep(poll, signal).catch(() => undefined);
      })
      .finally(() => {
        this.#watching = undefined;
        noticed();
      });
  }

  /** Send what the user has done, in its order. */
  async #flush(era: number, call: Asked): Promise<boolean> {
    let sent = false;
    for (;;) {
      const [first] = this.state.queue;
      if (!first || this.state.era !== era) return sent;
      let action = first;
      let task: Task | undefined;
      let error: TaskApiError | undefined;
      try {
        action = await this.#begin(action);
        if (this.state.era !== era) return sent;
        task = await send(this.api.http, action, current(this.state, action.id), call);
      } catch (failure) {
        call.signal.throwIfAborted();
        if (isForOthers(failure) || !(failure instanceof TaskApiError)) throw failure;
        const tries = (this.#broken.get(action.key) ?? 0) + 1;
        if (isForNow(failure) && !(isBroken(failure) && tries >= GIVEN_UP)) {
          if (isBroken(failure)) this.#broken.set(action.key, tries);
          throw failure;
        }
        error = failure;
      }
      sent = true;
      const { key } = action;
      this.#broken.delete(key);
      await this.commit((state) => this.#news(answered(state, key, task, error)), { action, task, error });
    }
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

  /** Without what is known better. */
  #news(edit: Edit | undefined): Edit | undefined {
    const isNews = (task: Task) => (this.tasks.get(task.id)?.version ?? -1) <= task.version;
    return edit && { ...edit, put: (edit.put ?? []).filter(isNews) };
  }

  /** Ask for what has changed until there is nothing more. */
  async #pull(era: number, call: Asked): Promise<void> {
    this.#stale = false;
    const fresh = new Map<number, Task>(); // of a copy that is begun anew
    let since = this.state.cursor;
    let anew = since === undefined;
    const commit = (edit: (state: State) => Edit | undefined) =>
      this.commit((state) => (state.era === era ? edit(state) : undefined));
    for (let more = true; more && this.state.era === era; ) {
      try {
        const { data } = await this.api.http.send<Changes>("GET", "/tasks/changes", { ...call, query: { since } });
        more = data.has_more;
        const from = since;
        since = data.cursor;
        if (anew) {
          for (const change of data.changes) {
            if (change.type === "upsert") fresh.set(change.task.id, change.task);
            else fresh.delete(change.id);
          }
          const put = [...fresh.values()];
          if (!more) await commit((state) => ({ state: { ...state, cursor: since }, put, remove: "all" }));
          continue;
        }
        if (!data.changes.length && from === since) continue;
        await commit((state) => {
          if (state.cursor !== from) return undefined; // another tab was here: it asks again
          const put = data.changes.flatMap((change) => (change.type === "upsert" ? [change.task] : []));
          const remove = data.changes.flatMap((change) => (change.type === "delete" ? [change.id] : []));
          return this.#news({ state: { ...state, cursor: since }, put, remove });
        });
        since = this.state.cursor;
      } catch (error) {
        if (error instanceof TaskApiError && error.status === 410 && !anew) {
          since = undefined;
          anew = true;
          more = true;
          continue;
        }
        this.#stale = true;
        throw error;
      }
    }
  }
}

/** What requests of one turn have in common. */
interface Asked {
  signal: AbortSignal;
  as: string | undefined;
  retries: number;
}
