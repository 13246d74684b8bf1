// Who is signed in: what is done as one user is never shown to another, and never done as theirs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { liveTasks } from "../dist/live.js";
import { newLocks, until } from "./browser.mjs";
import { newUser } from "./service.mjs";
import { become, browser, calls, direct, of, open, proxy, quiet, refused, shows, titles, user } from "./tabs.mjs";

test("a sign-out erases the copy in all tabs, and so does another user", async () => {
  const shared = browser();
  const [tab, other] = [open(shared), open(shared)];
  await tab.ready;
  await tab.create({ title: "secret" }).done;
  await until(() => titles(other).length === 1, "the other tab has it");
  await tab.signOut();
  await until(() => titles(other).length === 0 && other.snapshot().status === "signed_out", "the other tab has nothing");
  assert.deepEqual((await shared.store.read()).tasks, []);
  tab.wake(); // the same user signs in again
  await until(() => titles(tab).length === 1, "it is there again");
  proxy.down = true;
  proxy.cut();
  const unsent = tab.create({ title: "unsent" });
  tab.close();
  other.close();
  await new Promise((resolve) => setTimeout(resolve, 30));
  become(newUser());
  const theirs = open({ ...shared, locks: newLocks() });
  await until(() => theirs.snapshot().status === "offline", "offline");
  assert.deepEqual(titles(theirs), []);
  proxy.down = false;
  theirs.wake();
  await theirs.ready;
  assert.deepEqual([titles(theirs), (await shared.store.read()).state.queue], [[], []]);
  assert.ok(unsent.id < 0);
  assert.equal(await direct.count(), 1);
});

test("what is signed as somebody else in the middle is not sent as theirs", async () => {
  const tab = open(browser());
  await tab.ready;
  await tab.create({ title: "mine" }).done;
  proxy.down = true;
  proxy.cut();
  tab.create({ title: "also mine" });
  become(newUser());
  const theirs = of(user);
  proxy.down = false;
  proxy.faults.push({ status: 401, body: '{"code":"token_expired","detail":"x"}' });
  tab.wake();
  await until(() => tab.snapshot().ready && titles(tab).length === 0 && tab.snapshot().pending === 0, () => titles(tab).join());
  assert.equal(await theirs.count(), 0);
});

test("whoever is signed out is shown nothing, and has it all after signing in", async () => {
  const shared = browser();
  const tab = open(shared);
  await tab.ready;
  await tab.create({ title: "mine" }).done;
  tab.close();
  await new Promise((resolve) => setTimeout(resolve, 30));
  const mine = user;
  become(undefined);
  const again = open({ ...shared, locks: newLocks() });
  await until(() => again.snapshot().status === "signed_out", "it says so");
  assert.deepEqual(titles(again), []);
  become(mine);
  again.wake();
  await until(() => titles(again).join() === "mine", "it is there");
});

test("who signs in again in one tab is followed by another, which still has the lead", async () => {
  const shared = browser();
  const [leader, other] = [open(shared), open(shared)];
  await Promise.all([leader.ready, other.ready]);
  await leader.create({ title: "mine" }).done;
  await shows(other, "mine");
  await other.signOut();
  await until(() => leader.snapshot().status === "signed_out", "both are out");
  other.wake();
  await Promise.all([shows(leader, "mine"), shows(other, "mine")]);
});

test("whoever waits for a change is told when somebody else signs in, or nobody is left", async () => {
  const shared = browser();
  const [tab, other] = [open(shared), open(shared)];
  await Promise.all([tab.ready, other.ready]);
  proxy.down = true;
  proxy.cut();
  const changes = [tab.create({ title: "unsent" }), other.create({ title: "unsent, too" })];
  await until(() => other.snapshot().pending === 2, "both are known");
  await tab.signOut();
  for (const { done } of changes) assert.equal((await refused(done)).code, "signed_out");
  assert.equal((await refused(other.create({ title: "by nobody" }).done)).code, "signed_out");
  proxy.down = false;
  tab.wake();
  await until(() => other.snapshot().status === "live", () => other.snapshot().status);
  proxy.down = true;
  proxy.cut();
  const third = [tab.create({ title: "third" }), other.create({ title: "fourth" })];
  await until(() => tab.snapshot().pending === 2, "both are known");
  become(newUser());
  open(shared);
  for (const { done } of third) assert.equal((await refused(done)).code, "other_user");
  proxy.down = false;
  await quiet(tab);
  assert.deepEqual([await direct.count(), await of(user).count()], [0, 0]);
});

test("a tab that still has the token of before does not bring back whose it was", async () => {
  const shared = browser();
  const before = open(shared);
  await before.ready;
  await before.create({ title: "mine" }).done;
  become(newUser());
  await of(user).create({ title: "theirs" });
  const after = open(shared); // a page that is loaded by whoever has signed in since
  await Promise.all([shows(after, "theirs"), shows(before, "theirs")]);
  before.wake();
  await before.create({ title: "theirs, too" }).done;
  assert.deepEqual([await direct.count(), await of(user).count()], [1, 2]);
});

test("who was signed in is not written down after who has signed in since", async () => {
  const shared = browser();
  const first = open(shared);
  await first.ready;
  first.close();
  await new Promise((resolve) => setTimeout(resolve, 30));
  become(newUser());
  let begin, release;
  const begun = new Promise((resolve) => (begin = resolve));
  const released = new Promise((resolve) => (release = resolve));
  const write = async (...edit) => {
    begin();
    await released;
    return shared.store.write(...edit);
  };
  open({ store: { ...shared.store, write }, locks: newLocks() }); // by whoever is signed in for a moment
  await begun;
  become(newUser());
  const after = open({ ...shared, locks: newLocks() });
  await until(async () => (await shared.store.read()).state.user === user, "it is known who is");
  proxy.down = true;
  proxy.cut();
  const { done } = after.create({ title: "theirs" });
  await until(async () => (await shared.store.read()).state.queue.length === 1, "it is stored");
  release();
  await new Promise((resolve) => setTimeout(resolve, 30));
  proxy.down = false;
  await done;
  assert.deepEqual([await direct.count(), await of(user).count()], [0, 1]);
});

test("what is on its way for one user does not come into the copy of the next", async () => {
  await direct.create({ title: "mine" });
  const shared = browser();
  proxy.faults.push(200); // ms until the first changes come
  const before = open(shared);
  await until(() => proxy.requests.length > 0, "they are asked for");
  become(newUser());
  const after = open(shared);
  await after.ready;
  await new Promise((resolve) => setTimeout(resolve, 250));
  assert.deepEqual([titles(before), titles(after), (await shared.store.read()).tasks], [[], [], []]);
});

test("what was done before it was known by whom is stored, and sent, once that is known", async () => {
  const shared = browser();
  const mine = user;
  become(new TypeError("fetch failed"));
  const tab = open(shared);
  const change = tab.create({ title: "on the train" });
  await until(() => tab.snapshot().status === "offline", "offline");
  assert.deepEqual([titles(tab), (await shared.store.read()).state.queue], [["on the train"], []]);
  become(mine);
  tab.wake();
  assert.equal((await change.done).title, "on the train");
  assert.equal(await direct.count(), 1);
});

test("an undo of what somebody else did is none", async () => {
  const tab = open(browser());
  await tab.ready;
  const task = await tab.create({ title: "secret" }).done;
  await tab.remove(task.id).done;
  await tab.signOut();
  become(newUser());
  tab.wake();
  await quiet(tab);
  assert.equal(tab.undo(), undefined);
  assert.deepEqual(titles(tab), []);
});

test("who is signed out in the middle sees nothing, not even what was not sent", async () => {
  const tab = open(browser());
  await tab.ready;
  proxy.down = true;
  proxy.cut();
  tab.create({ title: "secret" });
  await until(() => tab.snapshot().status === "offline", "offline");
  assert.deepEqual(titles(tab), ["secret"]);
  const mine = user;
  proxy.down = false;
  proxy.fault = () => ({ status: 401, body: '{"code":"token_expired","detail":"x"}' });
  become(undefined);
  tab.wake();
  await until(() => tab.snapshot().status === "signed_out", "signed out");
  assert.deepEqual([titles(tab), tab.snapshot().pending], [[], 1]);
  proxy.fault = () => undefined;
  become(mine);
  tab.wake();
  await shows(tab, "secret");
  await quiet(tab);
});
