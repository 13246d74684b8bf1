// The hooks, in strict mode, and with what a server has rendered.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { makePage } from "./page.mjs";
import { tasksApi } from "../dist/index.js";
import { liveTasks, memoryStore } from "../dist/live.js";
import { newLocks, until } from "./browser.mjs";
import { api as target, newUser, tokenFor } from "./service.mjs";

let React;
let hooks;
let dom;
let server;

before(async () => {
  server = await import("react-dom/server");
  React = await import("react");
  hooks = await import("../dist/react.js");
  makePage();
  globalThis.IS_REACT_ACT_ENVIRONMENT = false;
  dom = await import("react-dom/client");
});
after(() => setTimeout(() => process.exit(), 200).unref());

test("server-rendered tasks are taken over, followed, changed and undone", async () => {
  const user = newUser();
  const api = tasksApi({ base: target, token: tokenFor(user) });
  const initial = [await api.create({ title: "b" }), await api.create({ title: "a" })];
  const h = React.createElement;
  let actions;
  let renders = 0;
  function List() {
    renders++;
    const tasks = hooks.useTasks({ status: "pending", sort: "title" }, initial);
    const { status, pending } = hooks.useConnection();
    const one = hooks.useTask(initial[0].id, initial[0]);
    actions = hooks.useTaskActions();
    return h("p", { className: status }, `${tasks.map(({ title }) => title).join(" ")} · ${one?.title} · ${pending}`);
  }
  const app = (live) => h(React.StrictMode, null, h(hooks.TasksProvider, { live }, h(List)));
  const serverSide = liveTasks(api);
  const html = server.renderToString(app(serverSide));
  assert.equal(html, '<p class="loading">a b · b · 0</p>');
  const live = liveTasks(api, { store: memoryStore(), locks: newLocks(), poll: 50 });
  const root = document.createElement("div");
  document.body.append(root);
  root.innerHTML = html;
  const problems = [];
  const rendered = dom.hydrateRoot(root, app(live), { onRecoverableError: (error) => problems.push(error) });
  const shows = (text) => until(() => root.textContent === text, () => `${text} but ${root.textContent}`);
  await live.ready;
  await shows("a b · b · 0");
  const before = renders;
  const { id } = actions.create({ title: "c" });
  await shows("a b c · b · 0");
  assert.ok(renders - before < 40, `${renders - before} renders`);
  actions.complete(id);
  await shows("a b · b · 0");
  actions.undo();
  await shows("a b c · b · 0");
  await api.update(initial[0], { title: "z" });
  await shows("a c z · z · 0");
  assert.deepEqual(problems, []);
  rendered.unmount();
  live.close();
});

test("a hook without its provider says what is missing", () => {
  const Lonely = () => hooks.useTasks().length;
  assert.throws(() => server.renderToString(React.createElement(Lonely)), /TasksProvider/);
});
