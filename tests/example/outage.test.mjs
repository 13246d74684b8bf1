// The example while the service is down.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { APP, close, findings, newUser } from "./browser.mjs";

after(close);

test("a service that is down is a sentence, on every page", async () => {
  const user = await newUser();
  for (const [path, text] of [["/", "Tasks"], ["/trash", "Trash"], ["/history", "History"], ["/statistics", "Statistics"]]) {
    const page = await user.context.newPage();
    const answer = await page.goto(APP + path);
    assert.equal(answer.status(), 200);
    await page.getByRole("heading", { name: text }).waitFor();
    await page.locator(".banner", { hasText: "does not answer" }).waitFor();
    assert.deepEqual(await findings(page), []);
    await page.close();
  }
  await user.close();
});
