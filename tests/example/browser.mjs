// What the tests in the browser share: Chromium, users, and what people look for on a page.
import assert from "node:assert/strict";
import axe from "axe-core";
import { chromium } from "playwright-core";

export const { APP, API } = process.env;
const PASSWORD = "correct horse battery staple";

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});
export const close = () => browser.close();

let users = 0;

/** Somebody new, in a browser of their own, who has signed up. Whatever the test does, its pages log no error. */
export async function newUser(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
  context.setDefaultTimeout(20_000);
  const errors = [];
  context.on("weberror", (error) => errors.push(String(error.error())));
  const name = `user${++users}`;
  const address = `10.0.0.${users}`; // Better Auth lets no address sign up often
  const data = { name: "Ada", email: `${name}-${process.pid}@example.com`, password: PASSWORD };
  const signedUp = await context.request.post(`${APP}/api/auth/sign-up/email`, {
    data,
    headers: { Origin: APP, "X-Forwarded-For": address },
  });
  assert.equal(signedUp.status(), 200, await signedUp.text());
  return {
    ...data,
    context,
    errors,
    /** Another window of theirs; it shows the tasks and hears of changes. */
    async open(path = "/") {
      const page = await context.newPage();
      await page.goto(APP + path);
      await page.locator(".state.live").waitFor();
      return page;
    },
    /** A request of theirs past the app, as another device would send it. */
    async call(method, path, data) {
      const { token } = await (await context.request.get(`${APP}/api/auth/token`)).json();
      const answer = await context.request.fetch(`${API}/api/tasks${path}`, { method, data, headers: { Authorization: `Bearer ${token}` } });
      assert.ok(answer.ok(), await answer.text());
      return answer.status() === 204 ? undefined : answer.json();
    },
    async close() {
      await context.close();
      assert.deepEqual(errors, []);
    },
  };
}

export const stranger = (options = {}) => browser.newContext(options);

/** Add a task as people do. */
export async function add(page, title) {
  await page.getByLabel("New task").fill(title);
  await page.keyboard.press("Enter");
  await row(page, title).waitFor();
}

export const row = (page, title) => page.locator(".tasks > li").filter({ has: page.getByRole("button", { name: title, exact: true }) });

/** The titles that are listed, in their order. */
export const titles = (page) => page.locator(".tasks .title").allTextContents();

/** Once a list is as it should be: it is live, so it may become so. */
export async function lists(page, expected) {
  const deadline = Date.now() + 15_000;
  let found;
  do {
    found = await titles(page);
    if (JSON.stringify(found) === JSON.stringify(expected)) return;
    await page.evaluate(() => new Promise(requestAnimationFrame));
  } while (Date.now() < deadline);
  assert.deepEqual(found, expected);
}

/** What axe finds wrong with a page, as lines. */
export async function findings(page) {
  await page.addScriptTag({ content: axe.source });
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`));
}

/** How many pixels a page is wider than its window. */
export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
