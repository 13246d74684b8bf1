// What the copy promises, one thing after the other; what happens in any order is in schedules.test.mjs.
import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";
import { browserStore, memoryStore } from "../dist/live.js";
import { newLocks, until } from "./browser.mjs";
import { browser, direct, open, proxy, quiet, refused, titles, user } from "./tabs.mjs";

let number = 0;

test("a change is shown at once, and is the service's when it is done", async () => {
  const tab = open(browser());
  await tab.ready;
  const change = tab.create({ title: " milk ", tags: ["home"] });
  assert.deepEqual(titles(tab), ["milk"]);
  assert.ok(change.id < 0);
  const task = await change.done;
  assert.deepEqual(tab.get(change.id), task); // also by its first id
  assert.deepEqual(await direct.list().all(), [task]);
  const update = tab.update(change.id, { title: "oat milk" });
  assert.equal(tab.get(task.id).title, "oat milk");
  await update.done;
  tab.undo();
  assert.equal(tab.get(task.id).title, "milk");
  await quiet(tab);
  assert.equal((await direct.get(task.id)).title, "milk");
  const removed = tab.remove(task.id);
  assert.deepEqual(titles(tab), []);
  removed.undo();
  assert.deepEqual(titles(tab), ["milk"]);
  await quiet(tab);
  assert.equal((await direct.get(task.id)).title, "milk");
});

test("what is refused is taken back, and said", async () => {
  const tab = open(browser());
  await tab.ready;
  const told = [];
  tab.onRefused((error, action) => told.push([error.code, action.kind]));
  const change = tab.create({ title: " \u200b " });
  const onIt = tab.update(change.id, { description: "x" });
  assert.equal(tab.snapshot().tasks.size, 1);
  assert.equal((await refused(change.done)).code, "validation_error");
  assert.equal((await refused(onIt.done)).code, "task_not_found");
  assert.equal(tab.snapshot().tasks.size, 0);
  assert.deepEqual(told, [["validation_error", "create"], ["task_not_found", "update"]]);
});

test("changes that meet offline: other fields are both kept, the same field is refused with both values", async () => {
  const [one, other] = await Promise.all([direct.create({ title: "a" }), direct.create({ title: "b" })]);
  const tab = open(browser());
  await tab.ready;
  proxy.down = true;
  proxy.cut();
  const kept = tab.update(one.id, { title: "mine" });
  const lost = tab.update(other.id, { title: "mine", description: "x" });
  const after = tab.update(other.id, { priority: "low" });
  await direct.update(one, { priority: "high", due_date: "2026-11-21" });
  await direct.update(other, { title: "theirs" });
  proxy.down = false;
  assert.equal((await kept.done).priority, "high");
  const error = await refused(lost.done);
  assert.deepEqual(error.conflicts, { title: { base: "b", mine: "mine", theirs: "theirs" } });
  assert.deepEqual([(await after.done).title, tab.get(other.id).title], ["theirs", "theirs"]);
});

test("a later change is made of what an earlier one has become", async () => {
  const tab = open(browser());
  await tab.ready;
  proxy.down = true;
  const { id } = tab.create({ title: "x", due_date: "2026-11-21T09:00:00+01:00" });
  const changes = [tab.update(id, { due_date: "2026-11-22T09:00:00+01:00" }), tab.update(id, { due_date: "2026-11-23" })];
  proxy.down = false;
  for (const change of changes) await change.done;
  assert.equal(tab.get(id).due_date, "2026-11-23");
});

for (const [name, newStore] of [["memory", memoryStore], ["IndexedDB", browserStore]]) {
  test(`what was done offline goes through a reload, in its order and once: ${name}`, async () => {
    const shared = name === "memory" ? newStore() : undefined;
    const database = `tasks ${number++}`;
    const again = () => ({ store: shared ?? newStore(database), locks: newLocks() });
    const before = open(again());
    await before.ready;
    const first = await before.create({ title: "first" }).done;
    proxy.fault = ({ method }) => (method === "GET" ? undefined : "lose"); // done, and nobody knows
    before.create({ title: "second" });
    before.update(first.id, { title: "1st" });
    before.complete(first.id);
    await until(async () => (await direct.count()) === 2, "the second is there");
    before.close();
    await new Promise((resolve) => setTimeout(resolve, 30));
    proxy.down = true;
    const offline = open(again());
    await until(() => titles(offline).length === 2, "the copy is shown without a network");
    assert.deepEqual(titles(offline), ["1st", "second"]);
    assert.equal(offline.snapshot().pending, 3);
    await until(() => offline.snapshot().status === "offline", "it says so");
    proxy.down = false;
    proxy.fault = () => undefined;
    offline.wake();
    await quiet(offline);
    await until(async () => JSON.stringify(titles(offline)) === '["1st","second"]', "the same");
    const theirs = await direct.list({ sort: "title" }).all();
    assert.deepEqual(theirs.map(({ title, completed }) => [title, completed]), [["1st", true], ["second", false]]);
  });
}

test("tabs have one stream, and the next one takes over", { timeout: 60_000 }, async () => {
  const shared = browser();
  const [first, second, third] = [open(shared), open(shared), open(shared)];
  await Promise.all([first.ready, second.ready, third.ready]);
  const streams = () => proxy.requests.filter(({ url }) => url.includes("/events")).length;
  await until(() => ["live", "polling"].includes(first.snapshot().status), "it follows");
  if (first.snapshot().status === "live") assert.equal(streams(), 1);
  const task = await third.create({ title: "by the third" }).done;
  await until(() => [first, second, third].every((tab) => titles(tab)[0] === "by the third"), "all have it");
  first.close();
  await direct.update(task, { title: "by another" });
  await until(() => [second, third].every((tab) => titles(tab)[0] === "by another"), "the next follows");
  assert.equal((await refused(third.update(task.id, { title: "" }).done)).code, "validation_error"); // told by the second
});

test("a copy is begun anew where the log does not go back so far", async () => {
  const shared = browser();
  const tab = open(shared);
  await tab.ready;
  await tab.create({ title: "a" }).done;
  tab.close();
  await new Promise((resolve) => setTimeout(resolve, 30));
  const { state } = await shared.store.read();
  const ghost = { ...(await direct.list().all())[0], id: 1, title: "ghost" };
  await shared.store.write(state.revision, { state: { ...state, revision: state.revision + 1, cursor: "old" }, put: [ghost] });
  const again = open({ ...shared, locks: newLocks() });
  await until(() => titles(again).join() === "a", () => titles(again).join());
});

test("a write that nobody can know the outcome of any more is not done twice", async () => {
  const shared = browser();
  await shared.store.write(0, {
    state: {
      user,
      revision: 1,
      ids: {},
      queue: [{ key: "k".repeat(32), kind: "create", id: -1, fields: { title: "x" }, at: 0, sent: Date.now() - 24 * 3_600_000 }],
    },
  });
  const told = [];
  const tab = open(shared);
  tab.onRefused((error) => told.push(error.code));
  await tab.ready;
  await quiet(tab);
  assert.deepEqual([told, await direct.count()], [["outcome_unknown"], 0]);
});
