// Several tabs of two browsers and another device, a network that loses, delays, cuts, repeats and reorders, people
// who sign in and out: nothing is lost, nothing is done twice, nothing is somebody else's.
import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { TaskApiError, tasksApi } from "../dist/index.js";
import { browserStore, liveTasks, memoryStore } from "../dist/live.js";
import { newLocks, until as untilWithin } from "./browser.mjs";
import { startProxy } from "./proxy.mjs";
import { api as target, newUser, tokenFor } from "./service.mjs";

const { SCHEDULES = "20", SEED = String(Math.floor(Math.random() * 2 ** 31)), AT_ONCE = "8", TRACE } = process.env;
const TOLD = 25; // schedules, after each of which it is said how far it is

const counts = {}; // of everything that has happened
const count = (name) => (counts[name] = (counts[name] ?? 0) + 1);
const some = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const until = (isSo, what) => untilWithin(isSo, what, 180_000); // a service that was killed has to come back

/** Numbers that look made up, and are the same for the same seed. */
function numbers(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return { next, below: (most) => Math.floor(next() * most), one: (list) => list[Math.floor(next() * list.length)] };
}

const BUSY = { status: 503, headers: { "Retry-After": "0" } };
const FAULTS = ["refuse", "lose", "lose", "cut", "late", "twice", 5, 15, 30, BUSY, { status: 429 }, { status: 502 }];

// What happens next, as often as it is named.
const STEPS = [
  ...["create", "create", "create", "create", "describe", "describe", "describe", "rank", "complete", "complete"],
  ...["remove", "take back", "series", "elsewhere", "elsewhere", "open", "close", "reload", "cut", "offline", "offline"],
  ...["sign out", "switch"],
];

/** A user, and what was done in their name. */
class Account {
  constructor() {
    this.user = newUser();
    this.direct = tasksApi({ base: target, token: tokenFor(this.user), retries: 12 });
  }
}

class Browser {
  tabs = [];
  records = []; // of what was done here

  constructor(account, random, name) {
    this.account = account;
    this.random = random;
    this.database = name;
    this.store = random.next() < 0.7 ? memoryStore() : undefined; // else IndexedDB, opened by each tab
    this.locks = random.next() < 0.85 ? newLocks() : undefined; // else as on a page without TLS
    count(this.store ? "memory" : "IndexedDB");
    count(this.locks ? "locks" : "no locks");
  }

  async start() {
    this.proxy = await startProxy(target);
    this.proxy.fault = () => {
      if (this.calm || this.random.next() > 0.35) return undefined;
      const fault = this.random.next() < 0.01 ? "hang" : this.random.one(FAULTS);
      count(`fault ${typeof fault === "number" ? "delay" : (fault.status ?? fault)}`);
      return fault;
    };
  }

  async token() {
    if (this.proxy.down) throw new TypeError("fetch failed");
    if (!this.account) throw new TaskApiError(401, { code: "signed_out", detail: "nobody is signed in" });
    const isOld = !this.calm && this.random.next() < 0.2;
    if (isOld) count("expired token");
    return tokenFor(this.account.user, { age: isOld ? 1000 : 0 });
  }

  open() {
    const api = tasksApi({ base: this.proxy.url, token: () => this.token(), timeout: 2000 });
    const store = this.store ?? browserStore(this.database);
    const tab = liveTasks(api, { store, locks: this.locks, poll: 40, pause: 10 });
    this.tabs.push(tab);
    return tab;
  }

  close(tab) {
    this.tabs.splice(this.tabs.indexOf(tab), 1);
    for (const record of this.records) if (record.tab === tab) record.isClosed = true;
    tab.close();
  }

  /** Somebody else may be signed in from now on: what was not sent may be erased. */
  async erased() {
    await some(5); // a tab that was just opened has to know whose it is
    for (const record of this.records) record.mayBeErased ||= record.outcome === undefined;
  }

  stands() {
    return this.tabs.map((tab) => JSON.stringify({ ...tab.snapshot(), tasks: [...tab.snapshot().tasks.values()] })).join("\n");
  }

  /** All tabs know who is signed in. */
  async settled() {
    const store = this.store ?? browserStore(this.database);
    await until(async () => (await store.read()).state.user === this.account.user, () => `they know that it is ${this.account.user}: ${this.stands()}`);
    await some(5);
    if (store !== this.store) store.close();
  }
}

async function run(seed) {
  const random = numbers(seed);
  const accounts = [new Account(), new Account()];
  const browsers = [new Browser(accounts[0], random, `${seed} one`), new Browser(accounts[0], random, `${seed} two`)];
  for (const browser of browsers) await browser.start();
  const records = [];
  let number = 0;
  const keep = (browser, tab, change, about) => {
    const isRefused = tab.snapshot().status === "signed_out"; // at once: such a tab shows nothing
    const record = { number, account: browser.account, tab, isRefused, ...about };
    change.done.then(
      () => (record.outcome = "done"),
      (error) => ((record.outcome = error.code ?? String(error)), (record.error = error)),
    );
    records.push(record);
    browser.records.push(record);
  };
  const step = {
    create: (browser, tab) => keep(browser, tab, tab.create({ title: `made ${++number}` }), { made: `made ${number}` }),
    describe: (browser, tab, { id }) =>
      keep(browser, tab, tab.update(id, { description: `said ${++number}` }), { said: `said ${number}`, id }),
    rank: (browser, tab, { id }) => keep(browser, tab, tab.update(id, { priority: random.one(["low", "high"]) }), {}),
    complete: (browser, tab, { id, completed }) => keep(browser, tab, tab.complete(id, !completed), {}),
    remove: (browser, tab, { id }) => keep(browser, tab, tab.remove(id), {}),
    "take back": (browser, tab, { id }) => {
      const removed = tab.remove(id);
      keep(browser, tab, removed, {});
      keep(browser, tab, removed.undo(), {});
    },
    series: (browser, tab) => {
      const task = { title: `series ${++number}`, due_date: "2026-11-21", recurring_pattern: "daily" };
      const change = tab.create(task);
      keep(browser, tab, change, { made: task.title });
      keep(browser, tab, tab.complete(change.id), {});
    },
    async elsewhere({ account }) {
      const all = await account.direct.list().all();
      const task = all.length && random.one(all);
      const kind = random.below(task ? 4 : 1);
      if (kind === 0) {
        const made = `made ${++number}`;
        records.push({ account, made, outcome: "done" });
        await account.direct.create({ title: made });
      } else if (kind === 1) await account.direct.update(task.id, { description: `theirs ${++number}` }).catch(gone);
      else if (kind === 2) await account.direct.complete(task.id, !task.completed).catch(gone);
      else await account.direct.remove(task.id).catch(gone);
    },
    open: (browser) => void (browser.tabs.length < 3 && browser.open()),
    close: (browser, tab) => browser.close(tab),
    reload: (browser) => {
      for (const tab of [...browser.tabs]) browser.close(tab);
      browser.open();
    },
    cut: ({ proxy }) => proxy.cut(),
    offline: ({ proxy }) => void (proxy.down = !proxy.down),
    async "sign out"(browser, tab) {
      await browser.erased();
      browser.account = undefined;
      await tab.signOut();
      await some(random.below(20));
      browser.account = random.one(accounts);
      browser.proxy.down = false;
      random.one(browser.tabs).wake();
      await browser.settled();
    },
    // As where a session has ended, and the next page that is loaded is somebody else's.
    async switch(browser) {
      await browser.erased();
      browser.account = accounts[1 - accounts.indexOf(browser.account)];
      browser.proxy.down = false;
      if (browser.tabs.length > 2) browser.close(random.one(browser.tabs));
      browser.open();
      await browser.settled();
    },
  };
  try {
    for (const browser of browsers) browser.open();
    for (const browser of browsers) await browser.settled(); // offline from the beginning is in live.test.mjs
    for (let steps = 14 + random.below(12); steps; steps--) {
      const browser = random.one(browsers);
      const tab = browser.tabs.length ? random.one(browser.tabs) : browser.open();
      const shown = [...tab.snapshot().tasks.values()];
      const name = random.one(STEPS);
      if (!shown.length && ["describe", "rank", "complete", "remove", "take back"].includes(name)) continue;
      count(name);
      if (TRACE) console.log(Date.now() % 100000, seed, browsers.indexOf(browser), browser.tabs.indexOf(tab), number, name, browser.account?.user);
      await step[name](browser, tab, shown.length ? random.one(shown) : undefined);
      if (random.next() < 0.6) await some(random.below(25));
    }
    for (const browser of browsers) {
      browser.proxy.down = false;
      browser.calm = true;
      if (!browser.tabs.length) browser.open();
    }
    await verify(accounts, browsers, records);
  } finally {
    for (const browser of browsers) {
      for (const tab of browser.tabs) tab.close();
      browser.proxy.close();
    }
  }
}

const gone = (error) => assert.equal(error.status, 404);
const byId = (tasks) => JSON.stringify([...tasks].sort((one, other) => one.id - other.id));

async function verify(accounts, browsers, records) {
  const tabs = browsers.flatMap((browser) => browser.tabs);
  const stands = () => browsers.map((browser) => browser.stands()).join("\n");
  await until(() => tabs.every((tab) => tab.snapshot().ready && tab.snapshot().pending === 0), () => `all is sent: ${stands()}`);
  await until(() => browsers.every(({ proxy }) => proxy.late === 0), "nothing is under way");
  for (const { account, tabs } of browsers) {
    let theirs; // read anew each time: what nobody waits for any more may still be under way
    const isSame = async () => {
      theirs = byId(await account.direct.list().all());
      return tabs.every((tab) => byId(tab.snapshot().tasks.values()) === theirs);
    };
    await until(isSame, () => `every copy is the service's:\n${theirs}\n${stands()}`);
  }
  const open = records.filter(({ outcome, isClosed }) => outcome === undefined && !isClosed);
  assert.deepEqual(open.map(({ number, made, said, mayBeErased }) => ({ number, made, said, mayBeErased })), [], "whoever waits is told");
  const effects = new Map();
  for (const account of accounts) effects.set(account, await effectsOf(account));
  for (const record of records) {
    const { account, made, said, outcome, mayBeErased, isRefused, error, number } = record;
    count(`outcome ${mayBeErased ? "erased or " : ""}${outcome ?? "closed"}`);
    const about = () => `${made ?? said ?? number}: ${outcome} ${error?.message ?? ""}`;
    const allowed = ["done", undefined, "version_mismatch", "task_not_found"];
    if (mayBeErased || isRefused) allowed.push("signed_out", "other_user");
    assert.ok(allowed.includes(outcome), about());
    if (made === undefined && said === undefined) continue;
    const own = effects.get(account).get(made ?? said) ?? 0;
    for (const other of accounts) if (other !== account) assert.equal(effects.get(other).has(made ?? said), false, about());
    const isKnown = outcome === "done" || (outcome === undefined && made !== undefined && !mayBeErased);
    if (isKnown) assert.equal(own, 1, about());
    else assert.ok(own <= (outcome === undefined || mayBeErased ? 1 : 0), `${own} times ${about()}`);
  }
  for (const [account, found] of effects) {
    const known = new Set(records.filter((record) => record.account === account).flatMap(({ made, said }) => made ?? said));
    for (const text of found.keys()) assert.ok(known.has(text) || text.startsWith("theirs"), `nobody did ${text}`);
    const pending = (await account.direct.list({ status: "pending" }).all()).filter(({ title }) => title.startsWith("series"));
    const ones = pending.map(({ title, due_date }) => `${title} ${due_date}`);
    assert.deepEqual([...new Set(ones)], ones, "a series goes on once");
  }
}

/** How often each was done, by the history, which knows of what is gone too. */
async function effectsOf({ direct }) {
  const found = new Map();
  for (const { kind, by, changes } of (await direct.history().all()).reverse()) {
    if (by === "undo") continue;
    const series = changes?.title?.to?.startsWith("series") && changes.title.to;
    const isFirst = !series || !found.has(series); // those that follow have its title
    if (kind === "created" && changes?.title?.to && isFirst) found.set(changes.title.to, (found.get(changes.title.to) ?? 0) + 1);
    const said = kind === "updated" && changes?.description?.to;
    if (said) found.set(said, (found.get(said) ?? 0) + 1);
  }
  return found;
}

test(`${SCHEDULES} schedules from seed ${SEED}`, { timeout: 3_600_000 }, async () => {
  const first = Number(SEED);
  const last = first + Number(SCHEDULES);
  let [next, done] = [first, 0];
  const failed = [];
  const worker = async () => {
    while (next < last) {
      const seed = next++;
      try {
        await run(seed);
      } catch (error) {
        failed.push(`SEED=${seed} SCHEDULES=1: ${error.stack}`);
        console.log(failed.at(-1));
      }
      if (++done % TOLD === 0 || done === last - first) console.log(`seeds from ${first}: ${done} done, ${failed.length} failed`);
    }
  };
  await Promise.all(Array.from({ length: Number(AT_ONCE) }, worker));
  console.log(JSON.stringify(counts));
  assert.equal(failed.length, 0, "schedules have failed: see above");
});

after(() => setTimeout(() => process.exit(), 500).unref());
