// What browsers, proxies, clocks and stores do to a client, and what it does then.
import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";
import { tasksApi } from "../dist/index.js";
import { browserStore, memoryStore } from "../dist/live.js";
import { newLocks, until } from "./browser.mjs";
import { tokenFor } from "./service.mjs";
import { browser, calls, direct, open, proxy, quiet, refused, shows, titles, user } from "./tabs.mjs";

const some = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let number = 0;

test("a hundred requests with a refused token wait for one new one, also where that is the same again", async () => {
  let fetched = 0;
  const old = tokenFor(user, { age: 1000 });
  for (const next of [() => tokenFor(user), () => old]) {
    fetched = 0;
    const api = tasksApi({ base: proxy.url, token: async () => (fetched++ ? next() : old) });
    const done = await Promise.allSettled(Array.from({ length: 100 }, () => api.count()));
    assert.deepEqual([new Set(done.map(({ status }) => status)).size, fetched], [1, 2]);
  }
});

test("a signal, and the time a try has, end the wait for a token that does not come", async () => {
  const api = tasksApi({ base: proxy.url, token: () => new Promise(() => undefined), timeout: 50, retries: 0 });
  assert.equal((await refused(api.count())).code, "network_error");
  const reason = new Error("enough");
  const patient = tasksApi({ base: proxy.url, token: () => new Promise(() => undefined) });
  await assert.rejects(patient.count({}, { signal: AbortSignal.timeout(30) }), { name: "TimeoutError" });
  const during = new AbortController();
  proxy.faults.push(500);
  const write = calls().create({ title: "x" }, { signal: during.signal });
  setTimeout(() => during.abort(reason), 30);
  await assert.rejects(write, (error) => error === reason);
});

test("Retry-After may be a date, past, or nonsense; nobody waits for what is too long", async () => {
  const api = calls();
  for (const after of [new Date(Date.now() - 5000).toUTCString(), "-5", "soon", "0.01", ""]) {
    proxy.faults.push({ status: 503, headers: { "Retry-After": after } });
    await api.count();
  }
  for (const after of [new Date(Date.now() + 3_600_000).toUTCString(), "1e300", "Infinity", "99999999999999999999"]) {
    proxy.faults.push({ status: 429, headers: { "Retry-After": after } });
    assert.ok((await refused(api.count())).retryAfter > 3000, after);
  }
});

test("where it is told to come again in an hour, the copy asks twice, and is there as soon as it is woken", async () => {
  const tab = open(browser());
  await tab.ready;
  proxy.fault = () => ({ status: 429, headers: { "Retry-After": "3600" } });
  proxy.cut();
  const change = tab.create({ title: "later" });
  await until(() => tab.snapshot().status === "offline", "it says so");
  const before = proxy.requests.length;
  await some(400); // twenty times the first pause
  assert.ok(proxy.requests.length - before <= 3, `${proxy.requests.length - before} requests`);
  assert.equal(tab.snapshot().pending, 1);
  proxy.fault = () => undefined;
  tab.wake();
  assert.equal((await change.done).title, "later");
});

test("a change that is refused for ever holds up no other, and is told; so is one that the service breaks down over", async () => {
  const tab = open(browser(), { pause: 1 });
  await tab.ready;
  const kept = await tab.create({ title: "kept" }).done;
  const told = [];
  tab.onRefused(({ status }, { kind }) => told.push([status, kind]));
  for (const status of [422, 413, 404, 410, 409, 500, 501]) {
    const body = JSON.stringify({ code: "x", detail: `it is ${status}` });
    proxy.fault = ({ method }) => (method === "POST" ? { status, headers: { "Content-Type": "application/json" }, body } : undefined);
    const poisoned = tab.create({ title: `poisoned by ${status}` });
    const after = tab.update(kept.id, { description: `after ${status}` });
    const onIt = tab.complete(poisoned.id);
    assert.equal((await refused(poisoned.done)).status, status);
    assert.equal((await after.done).description, `after ${status}`);
    assert.equal((await refused(onIt.done)).code, "task_not_found");
  }
  assert.deepEqual(told.filter(([, kind]) => kind === "create").map(([status]) => status), [422, 413, 404, 410, 409, 500, 501]);
  assert.deepEqual(titles(tab), ["kept"]);
});

/** A store that fails at something from a moment on. */
function failing(store, what) {
  const failure = new DOMException("it is full", "QuotaExceededError");
  const broken = { ...store, fails: true };
  for (const name of what) broken[name] = (...given) => (broken.fails ? Promise.reject(failure) : store[name](...given));
  return broken;
}

for (const [name, what] of [["may not be used", ["read", "write"]], ["is full", ["write"]]]) {
  test(`where the browser's storage ${name}, each tab has a copy of its own, and says so`, async () => {
    const store = failing(memoryStore(), what);
    const shared = { store, locks: newLocks() };
    const tabs = [open(shared), open(shared)];
    const told = [];
    for (const tab of tabs) tab.onError((error) => told.push(error.name));
    await Promise.all(tabs.map(({ ready }) => ready));
    await Promise.all(tabs.map((tab, at) => tab.create({ title: `by ${at}` }).done));
    for (const tab of tabs) await shows(tab, "by 0,by 1");
    assert.deepEqual(told, ["QuotaExceededError", "QuotaExceededError"]);
  });
}

test("storage that is full in the middle loses nothing of what was done, and does nothing twice", async () => {
  const store = failing(memoryStore(), ["write"]);
  store.fails = false;
  const shared = { store, locks: newLocks() };
  const tabs = [open(shared), open(shared)];
  await Promise.all(tabs.map(({ ready }) => ready));
  proxy.down = true;
  proxy.cut();
  const changes = tabs.map((tab, at) => tab.create({ title: `before ${at}` }));
  await until(() => tabs.every((tab) => tab.snapshot().pending === 2), "both know of both");
  store.fails = true;
  changes.push(...tabs.map((tab, at) => tab.create({ title: `after ${at}` })));
  await some(20);
  proxy.down = false;
  for (const tab of tabs) tab.wake();
  for (const { done } of changes) await done;
  for (const tab of tabs) await shows(tab, "after 0,after 1,before 0,before 1");
  assert.equal(await direct.count(), 4);
});

/** Put something where the copy is kept. */
function stored(name, version, state, tasks = []) {
  const request = indexedDB.open(name, version);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("state").put(state, "state");
    const store = request.result.createObjectStore("tasks", { keyPath: "id" });
    for (const task of tasks) store.put(task);
  };
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result.close());
    request.onerror = () => reject(request.error);
  });
}

test("what is stored by an older client is taken over, with what it has not sent", async () => {
  const name = `older ${number++}`;
  const queue = [{ key: "k".repeat(32), kind: "create", id: -1, fields: { title: "unsent" }, at: 0 }];
  await stored(name, 1, { user, revision: 7, queue, ids: {} });
  const tab = open({ store: browserStore(name), locks: newLocks() });
  await shows(tab, "unsent");
  await quiet(tab);
  assert.equal(await direct.count(), 1);
});

test("what is stored by a newer client, or is none of a client's, is left alone or begun anew", async () => {
  await direct.create({ title: "mine" });
  for (const [version, state] of [[2, {}], [1, "nonsense"], [1, { revision: "x", queue: {} }], [1, undefined]]) {
    const name = `other ${number++}`;
    await stored(name, version, state);
    const told = [];
    const tab = open({ store: browserStore(name), locks: newLocks() });
    tab.onError((error) => told.push(error.name));
    await shows(tab, "mine");
    assert.deepEqual(told, version === 2 ? ["VersionError"] : [], JSON.stringify(state));
  }
});

test("without BroadcastChannel or IndexedDB all is there", async () => {
  const { BroadcastChannel, indexedDB } = globalThis;
  globalThis.BroadcastChannel = undefined;
  globalThis.indexedDB = undefined;
  try {
    const locks = newLocks();
    const tabs = [open({ store: browserStore("none"), locks }), open({ store: browserStore("none"), locks })];
    await Promise.all(tabs.map((tab, at) => tab.create({ title: `by ${at}` }).done));
    for (const tab of tabs) await shows(tab, "by 0,by 1");
  } finally {
    Object.assign(globalThis, { BroadcastChannel, indexedDB });
  }
  const shared = browser();
  globalThis.BroadcastChannel = undefined;
  try {
    const tabs = [open(shared), open(shared)]; // whose store is the same
    await Promise.all(tabs.map((tab, at) => tab.create({ title: `then ${at}` }).done));
    for (const tab of tabs) await shows(tab, "by 0,by 1,then 0,then 1");
  } finally {
    globalThis.BroadcastChannel = BroadcastChannel;
  }
});

for (const status of [401, 403]) {
  test(`a proxy that bars the stream alone (${status}) is asked seldom, and the copy follows`, async () => {
    proxy.fault = ({ url }) => (url.includes("/events") ? { status, body: "{}" } : undefined);
    const tab = open(browser(), { poll: 100 });
    await tab.ready;
    const before = proxy.requests.length;
    await some(450);
    assert.ok(proxy.requests.length - before < 25, `${proxy.requests.length - before} requests`);
    await direct.create({ title: "by another" });
    await shows(tab, "by another");
  });
}

test("a service that says 410 to every cursor is not asked without a pause", async () => {
  await direct.create({ title: "a" });
  proxy.fault = ({ url }) => (url.includes("since=") ? { status: 410, body: '{"code":"cursor_expired","detail":"x"}' } : undefined);
  const tab = open(browser());
  await tab.ready;
  await shows(tab, "a");
  for (let n = 0; n < 3; n++) tab.wake();
  await some(100);
  assert.ok(proxy.requests.filter(({ url }) => url.includes("/changes")).length < 12);
  assert.deepEqual(titles(tab), ["a"]);
});

test("a service that was put back to an earlier state is what the copy shows, older versions and all", async () => {
  const shared = browser();
  const tab = open(shared);
  await tab.ready;
  const { id } = await tab.create({ title: "a" }).done;
  tab.close();
  await some(30);
  const { state, tasks } = await shared.store.read(); // as if the service had been further
  const ahead = { ...tasks[0], title: "of a time that never was", version: 99 };
  const queue = [{ key: "q".repeat(32), kind: "update", id: id + 1000, fields: { title: "x" }, at: 0 }];
  const next = { ...state, revision: state.revision + 1, cursor: "of-another-history", queue };
  await shared.store.write(state.revision, { state: next, put: [ahead, { ...ahead, id: id + 1000 }] });
  const told = [];
  const again = open({ ...shared, locks: newLocks() });
  again.onRefused(({ code }) => told.push(code));
  await shows(again, "a");
  await quiet(again);
  assert.deepEqual([again.get(id).version, told], [1, ["task_not_found"]]);
});

test("a tab that has missed what was refused finds it out", async () => {
  const shared = browser();
  const tab = open(shared);
  await tab.ready;
  proxy.down = true;
  proxy.cut();
  const change = tab.create({ title: "unsent" });
  await until(async () => (await shared.store.read()).state.queue.length === 1, "it is stored");
  const { state } = await shared.store.read();
  const refusal = { status: 422, code: "validation_error", detail: "x" };
  const next = { ...state, revision: state.revision + 1, queue: [], refused: { [state.queue[0].key]: refusal } };
  await shared.store.write(state.revision, { state: next }); // by a tab that was closed before it could tell
  tab.create({ title: "another" });
  assert.equal((await refused(change.done)).code, "validation_error");
});
