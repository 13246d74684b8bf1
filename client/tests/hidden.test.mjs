// Pages that are hidden, frozen, kept for the way back, offline: who follows then, and what they find when they return.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { until } from "./browser.mjs";
import { makePage } from "./page.mjs";
import { browser, direct, open, proxy, shows, titles } from "./tabs.mjs";

before(makePage);
after(() => setTimeout(() => process.exit(), 200).unref());

let isHidden;
beforeEach(() => {
  isHidden = false;
  Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
});
const fire = (target, type, more = {}) => target.dispatchEvent(Object.assign(new window.Event(type), more));
const hide = (hidden) => {
  isHidden = hidden;
  fire(document, "visibilitychange");
};
const some = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const asked = (path) => proxy.requests.filter(({ url }) => url.includes(path)).length;

test("a hidden tab keeps the stream, and follows; one that is shown again looks at once", async () => {
  const tab = open(browser());
  await tab.ready;
  await until(() => tab.snapshot().status === "live", "it is live");
  hide(true);
  await direct.create({ title: "meanwhile" });
  await shows(tab, "meanwhile");
  assert.equal(asked("/events"), 1);
  await until(() => tab.snapshot().status === "live", "it is live");
  await some(50);
  const before = asked("/changes");
  hide(false);
  await until(() => asked("/changes") > before, "it has asked");
  assert.equal(asked("/events"), 1);
});

test("a tab that is shown has the hidden one that follows try again, whose timers are slow", async () => {
  const shared = browser();
  const hidden = open(shared, { pause: 60_000 }); // as its timers were
  await until(() => hidden.snapshot().status === "live", "it is live");
  const shown = open(shared, { pause: 60_000 });
  await shown.ready;
  proxy.down = true;
  proxy.cut();
  const change = shown.create({ title: "waits" });
  await until(() => shown.snapshot().status === "offline", "offline");
  await some(1000); // until it waits for its timer
  proxy.fault = ({ url }) => (url.includes("/events") ? { status: 503, headers: { "Retry-After": "25" } } : undefined);
  proxy.down = false;
  shown.wake(); // by itself, as both have one window here
  await until(async () => (await direct.count()) === 1, "it is sent", 15_000); // before any timer has ended
  await change.done;
});

for (const [name, away, back] of [
  ["frozen", () => fire(document, "freeze"), () => fire(document, "resume")],
  ["kept for the way back", () => fire(window, "pagehide", { persisted: true }), () => fire(window, "pageshow", { persisted: true })],
]) {
  test(`a page that is ${name} holds neither lock nor stream, and catches up when it is back`, async () => {
    const shared = browser();
    const tab = open(shared);
    await until(() => tab.snapshot().status === "live", "it is live");
    away();
    await some(50);
    const { length } = proxy.requests;
    await direct.create({ title: "meanwhile" });
    await some(100);
    assert.equal(proxy.requests.length, length); // it hears nothing
    let isFree = false;
    const locked = shared.locks.request(`task-api ${proxy.url}`, { signal: new AbortController().signal }, async () => {
      isFree = true;
    });
    await locked;
    assert.ok(isFree);
    const unsent = tab.create({ title: "unsent" });
    assert.deepEqual(titles(tab), ["unsent"]);
    back();
    await unsent.done;
    await shows(tab, "meanwhile,unsent");
    await until(() => tab.snapshot().status === "live", () => tab.snapshot().status);
  });
}

test("what was frozen before it began begins when it is back", async () => {
  const tab = open(browser());
  await some(0);
  fire(document, "freeze");
  fire(document, "freeze");
  await some(50);
  fire(document, "resume");
  await direct.create({ title: "meanwhile" });
  await shows(tab, "meanwhile");
  fire(window, "pageshow", { persisted: false }); // as after any load
  fire(document, "resume");
  await direct.create({ title: "then" });
  await shows(tab, "meanwhile,then");
});
