// Several tabs of several browsers, a network that loses, delays, cuts and reorders: nothing is lost or done twice.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { tasksApi } from "../dist/index.js";
import { liveTasks, memoryStore } from "../dist/live.js";
import { newLocks, until } from "./browser.mjs";
import { startProxy } from "./proxy.mjs";
import { api as target, newUser, tokenFor } from "./service.mjs";

const { SCHEDULES = "20", SEED = String(Math.floor(Math.random() * 2 ** 31)), AT_ONCE = "8" } = process.env;

let base;
before(async () => {
  base = (await fetch(`${target}/health`)).ok;
});

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

const FAULTS = ["refuse", "lose", "cut", 5, 15, 30, { status: 503, headers: { "Retry-After": "0" } }, { status: 502 }];

class Browser {
  constructor(user, random) {
    this.user = user;
    this.random = random;
    this.store = memoryStore();
    this.locks = newLocks();
    this.tabs = [];
  }

  async start() {
    this.proxy = await startProxy(target);
    this.proxy.fault = () => (this.calm || this.random.next() > 0.35 ? undefined : this.random.one(FAULTS));
  }

  open() {
    const api = tasksApi({ base: this.proxy.url, token: tokenFor(this.user), timeout: 2000 });
    const options = { store: this.store, locks: this.locks, poll: 40, pause: 10 };
    const tab = liveTasks(api, options);
    this.tabs.push(tab);
    return tab;
  }

  closeOne() {
    const [tab] = this.tabs.splice(this.random.below(this.tabs.length), 1);
    tab?.close();
  }
}

async function run(seed) {
  const random = numbers(seed);
  const user = newUser();
  const direct = tasksApi({ base: target, token: tokenFor(user) });
  const browsers = [new Browser(user, random), new Browser(user, random)];
  for (const browser of browsers) await browser.start();
  const made = new Map(); // what was made, by a title that nobody else has
  const refusals = [];
  try {
    for (const browser of browsers) browser.open();
    let steps = 12 + random.below(10);
    while (steps--) {
      const browser = random.one(browsers);
      if (!browser.tabs.length) browser.open();
      const tab = random.one(browser.tabs);
      const shown = [...tab.snapshot().tasks.values()];
      const some = shown.length ? random.one(shown) : undefined;
      const kind = random.below(14);
      let change;
      if (kind < 4 || (!some && kind < 10)) {
        const title = `made ${made.size}`;
        change = tab.create({ title, description: String(made.size) });
        made.set(title, change);
      } else if (kind < 6) change = tab.update(some.id, { description: `changed ${steps}` });
      else if (kind < 7) change = tab.update(some.id, { priority: random.one(["low", "high"]) });
      else if (kind < 8) change = tab.complete(some.id, !some.completed);
      else if (kind < 9) change = tab.remove(some.id);
      else if (kind < 10) {
        change = tab.remove(some.id);
        change.undo();
      } else if (kind < 11) browser.open();
      else if (kind < 12) browser.closeOne();
      else if (kind < 13) browser.proxy.cut();
      else browser.proxy.down = !browser.proxy.down;
      change?.done.catch((error) => refusals.push(error));
      if (random.next() < 0.6) await new Promise((resolve) => setTimeout(resolve, random.below(25)));
    }
    for (const browser of browsers) {
      browser.proxy.down = false;
      browser.calm = true;
      if (!browser.tabs.length) browser.open();
    }
    const tabs = browsers.flatMap((browser) => browser.tabs);
    const state = () => JSON.stringify(tabs.map((tab) => [tab.snapshot().status, tab.snapshot().ready, tab.snapshot().pending, tab.snapshot().tasks.size]));
    await until(() => tabs.every((tab) => tab.snapshot().ready && tab.snapshot().pending === 0), () => `all is sent: ${state()}`);
    const byId = (tasks) => [...tasks].sort((one, other) => one.id - other.id);
    const theirs = byId(await direct.list().all());
    const same = (tab) => JSON.stringify(byId(tab.snapshot().tasks.values())) === JSON.stringify(theirs);
    await until(
      () => tabs.every(same),
      () => `all copies are the service's: ${JSON.stringify(theirs.map((t) => [t.id, t.version]))} ${JSON.stringify(tabs.map((tab) => byId(tab.snapshot().tasks.values()).map((t) => [t.id, t.version])))}`,
    );
    // Each was made once: there, or in the history of what is gone.
    const created = (await direct.history().all()).filter(({ kind, by }) => kind === "created" && by !== "undo");
    const titles = created.map(({ changes }) => changes?.title?.to).filter((title) => title !== undefined);
    const once = new Map();
    for (const { task_id, changes } of created) once.set(task_id, changes?.title?.to);
    assert.deepEqual([...new Set(once.values())].sort(), [...made.keys()].sort(), "each is there, and no other");
    assert.equal(once.size, made.size, `none is there twice: ${titles}`);
    for (const error of refusals) {
      assert.ok(["version_mismatch", "task_not_found"].includes(error.code), `refused: ${error.code} ${error.message}`);
    }
  } finally {
    for (const browser of browsers) {
      for (const tab of browser.tabs) tab.close();
      browser.proxy.close();
    }
  }
}

test(`${SCHEDULES} schedules from seed ${SEED}`, { timeout: 3_600_000 }, async () => {
  assert.ok(base);
  let next = Number(SEED);
  const last = next + Number(SCHEDULES);
  const failed = [];
  const worker = async () => {
    while (next < last) {
      const seed = next++;
      try {
        await run(seed);
      } catch (error) {
        failed.push(`SEED=${seed} SCHEDULES=1: ${error.stack}`);
      }
    }
  };
  await Promise.all(Array.from({ length: Number(AT_ONCE) }, worker));
  assert.equal(failed.join("\n"), "");
});

after(() => setTimeout(() => process.exit(), 500).unref());
