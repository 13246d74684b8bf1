// A browser's tabs, the network before them and whoever is signed in, made anew for each test of a file.
import assert from "node:assert/strict";
import { afterEach, beforeEach } from "node:test";
import { TaskApiError, tasksApi } from "../dist/index.js";
import { liveTasks, memoryStore } from "../dist/live.js";
import { newLocks, until } from "./browser.mjs";
import { startProxy } from "./proxy.mjs";
import { api as target, newUser, tokenFor } from "./service.mjs";

export let proxy;
export let user;
export let direct; // calls of the same user, past the proxy
let tabs;

beforeEach(async () => {
  proxy = await startProxy(target);
  become(newUser());
  direct = of(user);
  tabs = [];
});
afterEach(() => {
  for (const tab of tabs) tab.close();
  proxy.close();
});

/** Somebody else is signed in from now on, or nobody, or an error tells; tabs keep the token that they have. */
export const become = (name) => {
  user = name;
};
export const of = (name) => tasksApi({ base: target, token: tokenFor(name) });

async function token() {
  if (user instanceof Error) throw user;
  if (user === undefined) throw new TaskApiError(401, { code: "signed_out", detail: "nobody is signed in" });
  return tokenFor(user);
}

export const calls = () => tasksApi({ base: proxy.url, token, timeout: 2000, retries: 1 });

/** A tab of the browser that has this store and these locks. */
export function open(browser, options = {}) {
  const tab = liveTasks(calls(), { poll: 40, pause: 20, ...browser, ...options });
  tabs.push(tab);
  return tab;
}

export const browser = () => ({ store: memoryStore(), locks: newLocks() });
export const titles = (tab) => [...tab.snapshot().tasks.values()].map(({ title }) => title).sort();
export const quiet = (tab) => until(() => tab.snapshot().pending === 0 && tab.snapshot().ready, "all is sent");
export const shows = (tab, text) => until(() => titles(tab).join() === text, () => `${text}, but ${titles(tab)}`);
export const refused = async (promise) => {
  const error = await promise.then(() => assert.fail("it was not refused"), (reason) => reason);
  assert.ok(error instanceof TaskApiError, String(error));
  return error;
};
