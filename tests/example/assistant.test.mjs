// The assistant's panel, in Chromium; a stand-in is the model.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { add, APP, close, findings, lists, newUser, overflow, titles } from "./browser.mjs";

after(close);

const panel = (page) => page.getByRole("region", { name: "Assistant" });
const box = (page) => page.getByLabel("Message to the assistant");

/** Open the panel by its key. */
async function open(page) {
  await page.locator("h1").click();
  await page.keyboard.press("a");
  await box(page).waitFor();
}

async function say(page, text) {
  await panel(page).getByRole("button", { name: "Send" }).waitFor(); // the answer before is over
  await box(page).fill(text);
  await page.keyboard.press("Enter");
}

/** Once it has answered. */
const answered = (page, text) => panel(page).getByText(text).waitFor();

test("asked for something the assistant does it, the list and a card show it, and the card takes it back", async () => {
  const user = await newUser();
  const [page, other] = [await user.open(), await user.open()];
  await page.getByRole("button", { name: "Assistant", exact: true }).click();
  await panel(page).getByText("A stand-in for a model answers").waitFor();
  await say(page, "add milk and eggs");
  await answered(page, "Done: milk, eggs.");
  await Promise.all([lists(page, ["eggs", "milk"]), lists(other, ["eggs", "milk"])]);
  const card = panel(page).locator(".call", { hasText: "Added 2 tasks" });
  assert.deepEqual(await card.getByRole("listitem").allTextContents(), ["milk", "eggs"]);
  await other.getByLabel("Done: milk").click();
  await card.locator("li.done", { hasText: "milk" }).waitFor();
  await other.keyboard.press("u");
  await lists(page, ["eggs", "milk"]);
  await say(page, "done milk");
  await panel(page).locator(".call", { hasText: "Completed 1 task" }).getByRole("button", { name: "Undo: Completed 1 task" }).click();
  await page.getByText("Undone for 1 task").waitFor();
  await lists(page, ["eggs", "milk"]);
  await user.close();
});

test("what deletes asks first, and all of it goes by the keyboard", async () => {
  const user = await newUser();
  const page = await user.open();
  await add(page, "milk");
  await open(page);
  const asks = panel(page).getByRole("group", { name: "The assistant asks" });
  await say(page, "delete milk");
  await asks.getByText("Delete 1 task?").waitFor();
  assert.deepEqual(await titles(page), ["milk"]);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Keep");
  await page.keyboard.press("Enter");
  await answered(page, "Not done: you said no.");
  assert.deepEqual(await titles(page), ["milk"]);
  await say(page, "delete milk");
  await asks.getByRole("button", { name: "Delete" }).click();
  await answered(page, "Deleted 1 task");
  await lists(page, []);
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "TEXTAREA");
  await panel(page).getByRole("button", { name: "Undo: Deleted 1 task" }).click();
  await lists(page, ["milk"]);
  await page.getByText("Undone for 1 task").waitFor();
  await box(page).press("Escape");
  assert.equal(await panel(page).count(), 0);
  assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Assistant");
  await user.close();
});

test("an answer comes word by word, goes on without the page, is stopped, and is kept", async () => {
  const user = await newUser();
  const page = await user.open();
  await open(page);
  await say(page, "count");
  await answered(page, /^1 2 3/);
  assert.doesNotMatch(await panel(page).innerText(), / 100/);
  await page.reload();
  await answered(page, /^1 2 3 4 5/);
  await panel(page).getByRole("button", { name: "Stop" }).click();
  await panel(page).getByRole("button", { name: "Send" }).waitFor();
  const stopped = await panel(page).locator(".answer p").innerText();
  assert.doesNotMatch(stopped, / 100/);
  await page.reload();
  await answered(page, stopped);
  await panel(page).getByRole("button", { name: "New conversation" }).click();
  await answered(page, "It sees your tasks");
  await panel(page).getByRole("button", { name: "add milk and eggs" }).click();
  await answered(page, "Done: milk, eggs.");
  await panel(page).getByLabel("Conversation", { exact: true }).selectOption("count");
  await answered(page, stopped);
  await user.close();
});

test("a second user sees nothing of what the first has said", async () => {
  const [one, two] = [await newUser(), await newUser()];
  const page = await one.open();
  await open(page);
  await say(page, "add a secret");
  await answered(page, "Done: a secret.");
  const other = await two.open();
  await open(other);
  await answered(other, "It sees your tasks");
  assert.doesNotMatch(await other.content(), /secret/);
  await Promise.all([one.close(), two.close()]);
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing with the panel open in the ${colorScheme} theme, and nothing is wider than 360 px`, async () => {
    const user = await newUser({ colorScheme, reducedMotion: "reduce" });
    const page = await user.open();
    await open(page);
    assert.deepEqual(await findings(page), []);
    await say(page, "add Averyveryveryveryveryveryverylongtitlewithoutanyplacetobreakit and milk");
    await answered(page, "Done: Avery");
    await say(page, "delete milk");
    await answered(page, "Delete 1 task?");
    for (const [width, height] of [[1100, 800], [360, 740]]) {
      await page.setViewportSize({ width, height });
      assert.deepEqual(await findings(page), []);
      assert.equal(await overflow(page), 0);
    }
    assert.ok(!(await page.getByRole("heading", { name: "Tasks" }).isVisible()), "the panel is in the place of the list");
    const { y, height } = await box(page).boundingBox();
    assert.ok(y + height <= 740, "the box is within the window");
    await user.close();
  });
}
