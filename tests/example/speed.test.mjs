// A long list in Chromium: what it costs, counted, and in the page's own CPU time, whatever else the machine does.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { close, newUser, row } from "./browser.mjs";

after(close);

const TASKS = 1000;
const SLOW = 50; // ms

/** Somebody with a long list, and a page that shows it. */
async function longList() {
  const user = await newUser();
  for (let from = 0; from < TASKS; from += 100) {
    const operations = Array.from({ length: 100 }, (_, n) => ({ op: "create", title: `Task ${from + n}`, tags: ["home"], due_date: "2099-01-05" }));
    await user.call("POST", "/batch", { operations });
  }
  const page = await user.open();
  await page.waitForFunction((all) => document.querySelectorAll(".tasks > li").length === all, TASKS);
  const metrics = await user.context.newCDPSession(page);
  await metrics.send("Performance.enable", { timeDomain: "threadTicks" });
  /** How long the page's thread has computed so far, in ms. */
  const cpu = async () => {
    const found = await metrics.send("Performance.getMetrics");
    return 1000 * found.metrics.find(({ name }) => name === "TaskDuration").value;
  };
  return { user, page, cpu };
}

/** Of several times of the same, sorted: what one of them costs, and how they are told. */
const median = (times) => times.sort((one, other) => one - other)[times.length >> 1];
const told = (times) => times.map((time) => time.toFixed(1)).join(" ");

test("a list of 1,000 tasks scrolls without a stall: nothing is made anew, and only what is in sight is drawn", async (context) => {
  const { user, page, cpu } = await longList();
  await page.evaluate(() => {
    globalThis.changes = 0;
    const watched = { subtree: true, childList: true, attributes: true };
    new MutationObserver((seen) => (globalThis.changes += seen.length)).observe(document.querySelector(".tasks"), watched);
  });
  const times = [];
  for (let step = 1; step <= 40; step++) {
    const before = await cpu();
    await page.evaluate(async (part) => {
      scrollTo(0, (document.documentElement.scrollHeight - innerHeight) * part);
      for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
    }, step / 40);
    times.push((await cpu()) - before);
  }
  const drawn = await page.evaluate(() => {
    const inSight = (one) => one.querySelector(".title").checkVisibility({ contentVisibilityAuto: true });
    return [...document.querySelectorAll(".tasks > li")].filter(inSight).length;
  });
  context.diagnostic(`drawn: ${drawn}; ms of CPU for each of 40 windows full: ${told(times)}`);
  assert.equal(await page.evaluate(() => globalThis.changes), 0);
  assert.ok(drawn < 100, `${drawn} of ${TASKS} were drawn at once`);
  assert.ok(median(times) < SLOW, `a window full takes ${median(times)} ms`);
  await user.close();
});

test("what is done shows before the next frame, whatever the service does, and within 50 ms", async (context) => {
  const { user, page, cpu } = await longList();
  let asked = 0;
  await page.route("**/complete", () => void asked++); // and never answered
  const times = [];
  for (let turn = 0; turn < 9; turn++) {
    const before = await cpu();
    await page.evaluate(async () => {
      const first = document.querySelector(".tasks > li");
      first.querySelector("input[type=checkbox]").click();
      await Promise.resolve(); // what the click itself has put off, and no frame
      if (first.isConnected) throw new Error("it is still there");
      await new Promise(requestAnimationFrame);
    });
    times.push((await cpu()) - before);
  }
  context.diagnostic(`ms of CPU until it shows: ${told(times)}`);
  assert.ok(median(times) < SLOW, `it takes ${median(times)} ms`);
  assert.ok(asked <= 1, "one after the other, and the first has no answer");
  await user.close();
});
