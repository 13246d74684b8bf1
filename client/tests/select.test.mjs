// A copy is filtered and sorted as the service does it: the same members, in the same order.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { tasksApi } from "../dist/index.js";
import { select } from "../dist/live.js";
import { compare, fold, foldTag, sortKey } from "../dist/words.js";
import { api as target, newUser, tokenFor } from "./service.mjs";

const { corpus, words } = JSON.parse(readFileSync(process.env.CORPUS, "utf8"));

test("every filter and sort of the corpus", async () => {
  const user = newUser();
  const api = tasksApi({ base: target, token: tokenFor(user) });
  const operations = corpus.tasks.map((task) => ({ op: "create", ...task }));
  for (let n = 0; n < operations.length; n += 500) await api.batch(operations.slice(n, n + 500));
  const all = await api.list().all();
  for (const task of all.slice(0, 5)) await api.complete(task, !task.completed);
  const copy = await api.list().all();
  const wrong = [];
  for (const query of corpus.queries) {
    const theirs = (await api.list(query).all()).map(({ id }) => id);
    const ours = select(copy, query).map(({ id }) => id);
    if (JSON.stringify(theirs) !== JSON.stringify(ours)) wrong.push({ query, theirs, ours });
  }
  assert.deepEqual(wrong, []);
  assert.ok(copy.length > 60 && corpus.queries.length > 100);
});

test("every letter is folded and ordered as by the service", () => {
  const wrong = [];
  for (const [text, folded, tag, key] of words.folds) {
    const ours = [fold(text), foldTag(text), sortKey(text)];
    if (ours[0] !== folded || ours[1] !== tag || ours[2] !== key) {
      wrong.push([[...text].map((c) => c.codePointAt(0).toString(16)).join(" "), ours, [folded, tag, key]]);
    }
  }
  assert.deepEqual(wrong.slice(0, 40), [], `${wrong.length} of ${words.folds.length}`);
  const ordered = [...words.ordered].sort((one, other) => compare(one, other));
  assert.deepEqual(ordered, words.ordered);
});
