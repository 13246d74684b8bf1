// What the client promises of a single request, against the real service.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { jwtPlugin, SESSION_COOKIE, serverToken, TaskApiError, tasksApi, tokenRoute } from "../dist/index.js";
import { startProxy } from "./proxy.mjs";
import { api as target, newUser, tokenFor } from "./service.mjs";

let proxy;
let user;
let api;

before(async () => {
  proxy = await startProxy(target);
});
after(() => proxy.close());
beforeEach(() => {
  proxy.requests.length = 0;
  proxy.faults.length = 0;
  user = newUser();
  api = tasksApi({ base: proxy.url, token: async () => tokenFor(user) });
});

const sent = () => proxy.requests.map(({ method }) => method).join(" ");
const refused = async (promise) => {
  const error = await promise.then(() => assert.fail("it was not refused"), (reason) => reason);
  assert.ok(error instanceof TaskApiError, String(error));
  return error;
};

test("a list is all pages, one request each, and stops where its reader does", async () => {
  for (let n = 0; n < 5; n++) await api.create({ title: `task ${n}` });
  proxy.requests.length = 0;
  const all = await api.list({ limit: 2, sort: "title" }).all();
  assert.deepEqual(all.map(({ title }) => title), ["task 0", "task 1", "task 2", "task 3", "task 4"]);
  assert.equal(sent(), "GET GET GET");
  for await (const task of api.list({ limit: 2, priority: ["low", "medium"] })) {
    assert.equal(task.title, "task 4");
    break;
  }
  assert.equal(sent(), "GET GET GET GET");
});

test("an answer lost twice: three tries with one key, and one task", async () => {
  proxy.faults.push("lose", "cut");
  const task = await api.create({ title: "once" });
  assert.equal(sent(), "POST POST POST");
  assert.equal(new Set(proxy.requests.map(({ headers }) => headers["idempotency-key"])).size, 1);
  assert.deepEqual(await api.list().all(), [task]);
  await api.create({ title: "twice" });
  await api.create({ title: "twice" });
  assert.equal((await api.list().all()).length, 3);
});

test("whoever waits for a token waits for the same one; it is kept, and renewed once when refused", async () => {
  let fetched = 0;
  let age = 1000;
  const own = tasksApi({ base: proxy.url, token: async () => (fetched++, tokenFor(user, { age })) });
  age = 0;
  const expired = tasksApi({
    base: proxy.url,
    token: async () => tokenFor(user, { age: fetched++ === 0 ? 1000 : 0 }),
  });
  await Promise.all([expired.stats(), expired.stats(), expired.stats()]);
  assert.equal(fetched, 2);
  assert.equal(proxy.requests.length, 6);
  fetched = 0;
  await Promise.all([own.stats(), own.stats()]);
  await own.stats();
  assert.equal(fetched, 1);
  own.forgetToken();
  await own.stats();
  assert.equal(fetched, 2);
  const hopeless = tasksApi({ base: proxy.url, token: async () => (fetched++, "nonsense") });
  fetched = 0;
  assert.equal((await refused(hopeless.stats())).code, "invalid_token");
  assert.equal(fetched, 2);
});

test("a token is renewed shortly before its end, by its own clock", async () => {
  let fetched = 0;
  let later = 0;
  const now = performance.now.bind(performance);
  performance.now = () => now() + later;
  try {
    const own = tasksApi({ base: proxy.url, token: async () => (fetched++, tokenFor(user, { life: 900 })) });
    await own.stats();
    later = 860_000;
    await own.stats();
    assert.equal(fetched, 1);
    later = 875_000;
    await own.stats();
    assert.equal(fetched, 2);
  } finally {
    performance.now = now;
  }
  assert.equal(proxy.requests.length, 3); // none was refused
});

test("what was refused for a moment is tried again, after Retry-After; nothing else is", async () => {
  const started = performance.now();
  proxy.faults.push({ status: 503, headers: { "Retry-After": "1" } }, { status: 429 }, { status: 502 }, { status: 504 });
  await api.stats();
  assert.equal(proxy.requests.length, 5);
  assert.ok(performance.now() - started >= 1000);
  for (const status of [400, 403, 404, 409, 410, 412, 413, 415, 422, 500]) {
    proxy.faults.push({ status });
    assert.equal((await refused(api.stats())).status, status);
  }
  assert.equal(proxy.requests.length, 15);
  proxy.faults.push({ status: 429, headers: { "Retry-After": "3600" } });
  assert.equal((await refused(api.stats())).retryAfter, 3600); // nobody waits for an hour
  assert.equal(proxy.requests.length, 16);
  const impatient = tasksApi({ base: proxy.url, token: tokenFor(user), retries: 1 });
  proxy.faults.push("refuse", "refuse", "refuse");
  assert.equal((await refused(impatient.stats())).code, "network_error");
  assert.equal(proxy.faults.length, 1);
  proxy.faults.length = 0;
  proxy.faults.push(400);
  const hasty = tasksApi({ base: proxy.url, token: tokenFor(user), retries: 0, timeout: 100 });
  assert.equal((await refused(hasty.stats())).code, "network_error");
});

test("changes of different fields are both kept, of the same field both values are told", async () => {
  const mine = await api.create({ title: "milk", due_date: "2026-11-21" });
  const theirs = await api.update(mine, { priority: "high", due_date: "2026-11-22" });
  const merged = await api.update(mine, { title: "oat milk" });
  assert.deepEqual([merged.title, merged.priority, merged.version], ["oat milk", "high", theirs.version + 1]);
  const same = await api.update(mine, { title: "oat milk" }); // both mean the same
  assert.equal(same.version, merged.version);
  const error = await refused(api.update(mine, { title: "soy milk", description: "x" }));
  assert.ok(error.is("version_mismatch"));
  assert.deepEqual(error.conflicts, { title: { base: "milk", mine: "soy milk", theirs: "oat milk" } });
  assert.equal(error.current.description, null); // nothing of it was done
  const plan = await refused(api.update(mine, { timezone: "Europe/Berlin" }));
  assert.deepEqual(Object.keys(plan.conflicts), ["due_date"]);
  assert.equal((await api.update(mine.id, { title: "soy milk" })).title, "soy milk"); // whatever its version
  assert.equal((await refused(api.remove(mine))).code, "version_mismatch");
  await api.remove(mine.id);
});

test("an error has its code and its extras", async () => {
  const missing = await refused(api.get(1));
  assert.deepEqual([missing.status, missing.code, missing.message], [404, "task_not_found", "Task not found"]);
  assert.match(missing.requestId, /./);
  const invalid = await refused(api.create({ title: " " }));
  assert.ok(invalid.is("validation_error"));
  assert.deepEqual(invalid.detail[0].loc, ["body", "title"]);
  const failed = await refused(api.batch([{ op: "delete", id: 1 }]));
  assert.ok(failed.is("batch_failed") && failed.results[0].status === 404);
});

test("a signal ends whatever runs or waits", async () => {
  const reason = new Error("enough");
  const isReason = (error) => error === reason;
  await assert.rejects(api.stats({ signal: AbortSignal.abort(reason) }), isReason);
  assert.equal(proxy.requests.length, 0);
  const during = new AbortController();
  proxy.faults.push(500);
  setTimeout(() => during.abort(reason), 50);
  await assert.rejects(api.stats({ signal: during.signal }), isReason);
  const waiting = new AbortController();
  proxy.faults.push({ status: 503, headers: { "Retry-After": "20" } });
  setTimeout(() => waiting.abort(reason), 50);
  await assert.rejects(api.create({ title: "x" }, { signal: waiting.signal }), isReason);
  await assert.rejects(api.list({}, { signal: AbortSignal.abort(reason) }).all(), isReason);
});

test("everything else that the service does", async () => {
  const task = await api.create({ title: "a", tags: ["home"] });
  const done = await api.complete(task);
  assert.equal(done.completed, true);
  assert.equal((await api.undo(done)).completed, false);
  assert.equal((await api.history(task.id).all()).length, 3);
  await api.remove(task.id);
  assert.deepEqual((await api.trash().all()).map(({ id }) => id), [task.id]);
  assert.equal((await api.restore(task.id)).title, "a");
  const created = await api.create({ title: "b" });
  assert.equal(await api.undo(created), null);
  const { results, change } = await api.batch([{ op: "create", title: "c" }, { op: "delete", id: task.id }]);
  assert.deepEqual(results.map(({ status }) => status), [201, 204]);
  assert.equal((await api.undoChange(change)).tasks, 2);
  assert.equal((await api.batch([{ op: "delete", id: 1 }], { atomic: false })).results[0].status, 404);
  assert.equal(await api.count({ tag: ["HOME"] }), 1);
  assert.equal((await api.completeAll()).completed, 1);
  assert.equal((await api.stats()).completed, 1);
  const file = await api.export();
  assert.equal((await api.import(file)).unchanged, 1);
  assert.equal((await api.import("title\nx\n", { type: "text/csv" })).created, 1);
  assert.equal((await api.removeAll({ completed: true })).deleted, 1);
  assert.equal((await api.emptyTrash()).erased > 0, true);
  assert.equal((await api.recurrence({ pattern: "daily", due_date: "2026-11-21" })).length, 10);
  const { changes, cursor, has_more } = await api.changes(undefined, { limit: 10 });
  assert.deepEqual([changes.length, has_more], [1, false]);
  assert.deepEqual((await api.changes(cursor)).changes, []);
  assert.equal(await api.user(), user);
});

test("a calendar is made, listed and revoked, and its address is the service's", async () => {
  const due = await api.create({ title: "Call grandma", due_date: "2026-11-21", tags: ["family"] });
  await api.create({ title: "Write the report", due_date: "2026-11-21" });
  proxy.requests.length = 0;
  proxy.faults.push("lose");
  const { url, ...made } = await api.calendars.create({ name: "Family", component: "todo", filter: { tag: ["family"] } });
  assert.equal(new Set(proxy.requests.map(({ headers }) => headers["idempotency-key"])).size, 1);
  assert.deepEqual(await api.calendars.list(), [made]); // once, although it was asked for twice
  const file = await (await fetch(url.replace(/^.*(?=\/api)/, target))).text();
  assert.ok(file.includes(due.title) && !file.includes("report"), file);
  await api.calendars.remove(made.id);
  assert.deepEqual(await api.calendars.list(), []);
  assert.equal((await refused(api.calendars.remove(made.id))).code, "calendar_not_found");
});

test("whoever watches is told that there is something, stream or none, until the signal", { timeout: 20_000 }, async () => {
  const ending = new AbortController();
  const told = [];
  for await (const notice of api.watch({ signal: ending.signal, poll: 50 })) {
    told.push(notice.type);
    if (told.length === 1) await api.create({ title: "something" });
    if (told.length === 2) ending.abort();
  }
  assert.ok(["poll poll", "ready change"].includes(told.join(" ")), told.join(" "));
});

test("every way to a token", async () => {
  const real = globalThis.fetch;
  const asked = [];
  globalThis.fetch = async (url, init) => {
    if (String(url).startsWith("http")) return real(url, init);
    asked.push([url, init.credentials]);
    return url === "/missing" ? new Response("", { status: 401 }) : Response.json({ token: tokenFor(user) });
  };
  try {
    for (const token of [jwtPlugin(), tokenRoute()]) await tasksApi({ base: proxy.url, token }).stats();
    assert.deepEqual(asked, [["/api/auth/token", "include"], ["/api/token", "include"]]);
    assert.equal((await refused(tasksApi({ base: proxy.url, token: tokenRoute("/missing") }).stats())).code, "signed_out");
  } finally {
    globalThis.fetch = real;
  }
  const auth = { api: { getToken: async ({ headers }) => ({ token: headers.get("x") }) } };
  await tasksApi({ base: proxy.url, token: serverToken(auth, new Headers({ x: tokenFor(user) })) }).stats();
  await tasksApi({ base: `${proxy.url}/`, token: tokenFor(user) }).stats();
  let asks;
  const cookie = tasksApi({ base: proxy.url, token: SESSION_COOKIE, fetch: (url, init) => ((asks = init), real(url, init)) });
  assert.equal((await refused(cookie.stats())).code, "missing_token");
  assert.equal(asks.credentials, "include");
});
