// What changes by time alone: lists of what is overdue, or due today, and how a device's clock shows in none of it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { makePage } from "./page.mjs";
import { tasksApi } from "../dist/index.js";
import { liveTasks, matches, memoryStore, select, standsUntil } from "../dist/live.js";

let React;
let hooks;
let dom;

before(async () => {
  React = await import("react");
  hooks = await import("../dist/react.js");
  makePage();
  dom = await import("react-dom/client");
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
});
after(() => setTimeout(() => process.exit(), 200).unref());

const task = (id, due_date, more = {}) => ({
  ...{ id, user_id: "ada", title: `task ${id}`, description: null, completed: false, completed_at: null },
  ...{ priority: "medium", tags: [], timezone: "UTC", recurring: false, recurring_pattern: null, recur_from: "due" },
  ...{ next_task_id: null, version: 1, created_at: "2026-01-01T00:00:00Z", updated_at: "2026-01-01T00:00:00Z", due_date },
  ...more,
});

const until = (tasks, query, now) => new Date(standsUntil(tasks, query, new Date(now))).toISOString();

test("a selection stands until the next task is overdue, and not a millisecond longer", () => {
  const tasks = [
    task(1, "2026-11-21T10:00:00Z"),
    task(2, "2026-11-21T09:00:00Z", { completed: true }),
    task(3, "2026-11-21", { timezone: "Asia/Tokyo" }),
    task(4, "2026-11-01"),
  ];
  const now = "2026-11-21T08:00:00Z";
  for (const overdue of [true, false]) assert.equal(until(tasks, { overdue }, now), "2026-11-21T10:00:00.001Z");
  assert.equal(until(tasks, { overdue: true }, "2026-11-21T10:00:00.001Z"), "2026-11-21T15:00:00.000Z"); // Tokyo's day
  for (const { at, one } of [{ at: 0, one: false }, { at: 1, one: true }]) {
    assert.equal(matches(tasks[0], { overdue: true }, new Date(Date.parse("2026-11-21T10:00:00Z") + at)), one);
  }
  assert.equal(standsUntil(tasks, { overdue: true }, new Date("2027-01-01")), Infinity);
  for (const query of [{}, { due_before: "2026-11-22" }, { status: "pending", has_due_date: true }]) {
    assert.equal(standsUntil(tasks, query, new Date(now)), Infinity, JSON.stringify(query));
  }
});

test("days end at midnight of their zone, also where that is twice, or not at all", () => {
  const ends = (timezone, now, name = "due_before") => until([], { [name]: "tomorrow", timezone }, now);
  assert.equal(ends("UTC", "2026-11-21T23:59:59.999Z"), "2026-11-22T00:00:00.000Z");
  assert.equal(ends("UTC", "2026-11-22T00:00:00.000Z"), "2026-11-23T00:00:00.000Z");
  assert.equal(ends(undefined, "2026-11-21T12:00:00Z", "created_after"), "2026-11-22T00:00:00.000Z");
  assert.equal(ends("Europe/Berlin", "2026-03-29T00:30:00Z"), "2026-03-29T22:00:00.000Z"); // a day of 23 hours
  assert.equal(ends("Europe/Berlin", "2026-10-25T00:30:00Z"), "2026-10-25T23:00:00.000Z"); // of 25
  assert.equal(ends("Asia/Kathmandu", "2026-11-21T12:00:00Z"), "2026-11-21T18:15:00.000Z");
  assert.equal(ends("Africa/Cairo", "2026-04-23T12:00:00Z"), "2026-04-23T22:00:00.000Z"); // 00:00 is 01:00
  assert.equal(ends("America/Havana", "2026-11-01T03:00:00Z"), "2026-11-01T04:00:00.000Z"); // 00:00 comes twice
  assert.equal(ends("America/Havana", "2026-11-01T05:30:00Z"), "2026-11-02T05:00:00.000Z");
});

test("a list with a condition on time is another one when its time has come, by one timer", async (context) => {
  context.mock.timers.enable({ apis: ["Date", "setTimeout"], now: Date.parse("2026-11-21T08:00:00Z") });
  const store = memoryStore({
    state: { user: "ada", revision: 1, cursor: "x", queue: [] },
    tasks: [task(1, "2026-11-21T10:00:00Z"), task(2, "2026-11-22"), task(3, "2027-06-01T00:00:00Z")],
  });
  const api = tasksApi({ base: "http://localhost:1", token: () => Promise.reject(new TypeError("offline")) });
  const live = liveTasks(api, { store, locks: undefined });
  await live.ready;
  const shown = {};
  let renders = 0;
  const List = ({ name, query }) => {
    shown[name] = hooks.useTasks(query).map(({ id }) => id).join();
    renders++;
    return null;
  };
  const h = React.createElement;
  const zone = { timezone: "Europe/Berlin" };
  const lists = [
    h(List, { key: 1, name: "overdue", query: { overdue: true, sort: "due_date" } }),
    h(List, { key: 2, name: "today", query: { due_after: "yesterday", due_before: "tomorrow", ...zone } }),
    h(List, { key: 3, name: "all", query: {} }),
  ];
  const root = dom.createRoot(document.createElement("div"));
  await React.act(() => root.render(h(hooks.TasksProvider, { live }, lists)));
  const pass = (to) => React.act(() => context.mock.timers.tick(Date.parse(to) - Date.now()));
  assert.deepEqual(shown, { overdue: "", today: "1", all: "3,2,1" });
  renders = 0;
  await pass("2026-11-21T10:00:00.000Z");
  assert.deepEqual([shown.overdue, renders], ["", 0]);
  await pass("2026-11-21T10:00:00.001Z");
  assert.deepEqual([shown.overdue, renders], ["1", 1]);
  await pass("2026-11-21T23:00:00Z"); // midnight in Berlin
  assert.deepEqual([shown.today, renders], ["2", 2]);
  await pass("2026-12-01T00:00:00Z");
  assert.equal(shown.overdue, "1,2");
  await pass("2027-06-01T00:00:00.001Z"); // longer than a timer can wait
  assert.equal(shown.overdue, "1,2,3");
  context.mock.timers.setTime(Date.parse("2028-01-01"));
  await React.act(() => root.unmount());
  live.close();
});

test("what is done here is newer than all that is there, in its order, also where the device's clock is late", async (context) => {
  const newest = task(7, null, { created_at: "2026-11-21T10:00:00.123456Z", updated_at: "2026-11-21T10:00:00.123456Z" });
  const store = memoryStore({ state: { user: "ada", revision: 1, cursor: "x", queue: [] }, tasks: [newest] });
  const api = tasksApi({ base: "http://localhost:1", token: () => Promise.reject(new TypeError("offline")) });
  context.mock.timers.enable({ apis: ["Date"], now: Date.parse("2026-11-20") });
  const live = liveTasks(api, { store, locks: undefined });
  await live.ready;
  const [first] = [live.create({ title: "first" })];
  context.mock.timers.setTime(Date.parse("2026-11-20") + 5);
  const second = live.create({ title: "second" });
  const order = (sort) => select(live.snapshot().tasks.values(), { sort }).map(({ id }) => id);
  assert.deepEqual(order("created"), [second.id, first.id, 7]);
  live.update(7, { priority: "high" });
  live.remove(first.id);
  live.remove(second.id);
  live.create({ title: "third" });
  live.update(7, { title: "renamed" });
  assert.equal(order("updated").length, 2);
  assert.ok(live.get(7).updated_at > "2026-11-21T10:00:00.123456Z");
  live.close();
});
