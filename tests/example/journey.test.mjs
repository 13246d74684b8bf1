// The example as people use it, in Chromium, with the service and PostgreSQL behind it.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { add, APP, close, findings, lists, newUser, overflow, row, stranger, titles } from "./browser.mjs";

after(close);

const SAMPLES = [
  { title: "Water the plants", tags: ["home"], due_date: "2026-11-20", recurring: true, recurring_pattern: "weekly" },
  { title: "Write the report", priority: "high", tags: ["work"], due_date: "2099-01-05", description: "With the figures of autumn" },
  { title: "Call grandma", priority: "low", tags: ["family"] },
];
const ADDED = SAMPLES.map((task) => ({ op: "create", ...task }));

test("somebody signs up, sees nothing, adds a task, signs out and in, and it is there", async () => {
  const context = await stranger();
  const page = await context.newPage();
  await page.goto(APP);
  assert.match(page.url(), /sign-in$/);
  await page.getByRole("button", { name: "I am new here" }).click();
  await page.getByLabel("Name").fill("Ada");
  const email = `ada-${process.pid}@example.com`;
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill("correct horse battery staple");
  await page.getByRole("button", { name: "Sign up" }).click();
  await page.getByText("Add your first task above").waitFor();
  await add(page, "Buy milk");
  await page.locator(".state.live").waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill("wrong horse battery staple");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await page.getByLabel("Password").fill("correct horse battery staple");
  await page.getByRole("button", { name: "Sign in" }).click();
  await row(page, "Buy milk").waitFor();
  await context.close();
});

test("the first list comes with the page, before any script has run", async () => {
  const user = await newUser();
  await user.call("POST", "", { title: "Made before" });
  const html = await (await user.context.request.get(APP)).text();
  assert.match(html.replace(/<script[\s\S]*?<\/script>/g, ""), /Made before/);
  await user.close();
});

test("two windows and another device show each other's changes, without a reload", async () => {
  const user = await newUser();
  const [one, two] = [await user.open(), await user.open()];
  await add(one, "Buy milk");
  await lists(two, ["Buy milk"]);
  await row(two, "Buy milk").getByRole("checkbox").click();
  await lists(one, []);
  await user.call("POST", "", { title: "From the phone" });
  await Promise.all([lists(one, ["From the phone"]), lists(two, ["From the phone"])]);
  await user.close();
});

test("an edit has due date, priority, tags and recurrence, and shows the dates to come", async () => {
  const user = await newUser();
  const page = await user.open();
  await add(page, "Water the plants");
  await page.getByRole("button", { name: "Water the plants", exact: true }).click();
  const form = page.getByRole("form", { name: "Edit Water the plants" });
  await form.getByLabel("Title").fill("Water all plants");
  await form.getByLabel("Due").fill("2099-01-05");
  await form.getByLabel("Repeats").selectOption("Every week");
  await form.getByText("Mon 12 Jan 2099").waitFor();
  await form.getByLabel("Priority").selectOption("High");
  await form.getByLabel("Tags").fill("home, green");
  await form.getByRole("button", { name: "Save" }).click();
  const text = await row(page, "Water all plants").innerText();
  for (const part of ["High", "Mon 5 Jan 2099", "Every week", "home", "green"]) assert.ok(text.includes(part), text);
  await row(page, "Water all plants").getByRole("checkbox").click();
  await page.getByText("Mon 12 Jan 2099").waitFor(); // the next of the series
  await user.close();
});

test("search, filters and sorts narrow the list", async () => {
  const user = await newUser();
  await user.call("POST", "/batch", { operations: ADDED });
  const page = await user.open();
  await page.getByLabel("Sort").selectOption("By title");
  await lists(page, ["Call grandma", "Water the plants", "Write the report"]);
  await page.getByLabel("Search").fill("AUTUMN");
  await lists(page, ["Write the report"]);
  await page.getByLabel("Search").fill("");
  await page.getByLabel("Priority").selectOption("Low");
  await lists(page, ["Call grandma"]);
  await page.getByLabel("Priority").selectOption("Any priority");
  await page.getByLabel("Tag", { exact: true }).selectOption("home");
  await lists(page, ["Water the plants"]);
  await page.getByLabel("Tag", { exact: true }).selectOption("Any tag");
  await page.getByLabel("Due", { exact: true }).selectOption("Overdue");
  await lists(page, ["Water the plants"]);
  await page.getByLabel("Due", { exact: true }).selectOption("Due any time");
  await page.getByRole("radio", { name: "Done" }).check();
  await lists(page, []);
  await user.close();
});

test("everything goes by the keyboard, and what was done last is undone by one key", async () => {
  const user = await newUser();
  await user.call("POST", "/batch", { operations: ADDED });
  const page = await user.open();
  const all = ["Call grandma", "Write the report", "Water the plants"];
  await lists(page, all);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("d");
  await lists(page, ["Call grandma", "Water the plants"]);
  await page.getByText("Deleted “Write the report”").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Water the plants");
  await page.keyboard.press("u");
  await lists(page, all);
  await page.keyboard.press("x");
  await lists(page, all.slice(0, 2));
  await page.keyboard.press("u");
  await lists(page, all);
  await page.keyboard.press("k");
  await page.keyboard.press("e");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("Changed by hand");
  await page.keyboard.press("Escape");
  await lists(page, all);
  await page.keyboard.press("/");
  await page.keyboard.type("call");
  await lists(page, ["Call grandma"]);
  await user.close();
});

test("what was deleted is in the trash and comes back; history takes back what was done", async () => {
  const user = await newUser();
  const page = await user.open();
  await add(page, "Buy milk");
  await row(page, "Buy milk").getByRole("button", { name: "Delete Buy milk" }).click();
  await lists(page, []);
  await page.getByRole("link", { name: "Trash" }).click();
  await page.getByRole("button", { name: "Restore Buy milk" }).click();
  await page.getByText("The trash is empty").waitFor();
  await page.getByRole("link", { name: "History" }).click();
  await page.getByRole("button", { name: "Undo: Buy milk created" }).first().click();
  await page.getByText("Undone for 1 task").waitFor();
  await page.getByRole("link", { name: "Tasks", exact: true }).click();
  await lists(page, []);
  await user.close();
});

test("statistics count, and a file that was exported is imported again", async () => {
  const user = await newUser();
  await user.call("POST", "/batch", { operations: ADDED });
  const page = await user.open("/statistics");
  await page.locator(".numbers div", { hasText: "To do" }).getByText("3").waitFor();
  await page.getByRole("link", { name: "Files" }).click();
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "CSV" }).click();
  const file = await (await saved).path();
  await page.getByLabel("File").setInputFiles({ name: "tasks.csv", mimeType: "text/csv", buffer: await (await import("node:fs/promises")).readFile(file) });
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByText("0 created, 3 as they were").waitFor();
  await page.getByLabel("File").setInputFiles({ name: "more.csv", mimeType: "text/csv", buffer: Buffer.from("title\nFrom a file\n") });
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByText("1 created").waitFor();
  await page.getByRole("link", { name: "Tasks", exact: true }).click();
  await row(page, "From a file").waitFor();
  await user.close();
});

test("a calendar's address is shown once, has the tasks that are due, and is revoked", async () => {
  const user = await newUser();
  await user.call("POST", "/batch", { operations: ADDED });
  const page = await user.open("/files");
  await page.getByLabel("Name of the calendar").fill("Home");
  await page.getByRole("button", { name: "Make an address" }).click();
  const url = await page.getByLabel("Address of Home").inputValue();
  const calendar = await fetch(url);
  assert.equal(calendar.headers.get("Content-Type"), "text/calendar; charset=utf-8");
  assert.match(await calendar.text(), /SUMMARY:Write the report/);
  assert.deepEqual(await findings(page), []);
  await user.context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("button", { name: "Copy" }).click();
  await page.getByText("Copied").waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), url);
  await page.reload();
  await page.getByRole("button", { name: "Revoke Home" }).waitFor();
  assert.equal(await page.getByLabel("Address of Home").count(), 0);
  await page.getByRole("button", { name: "Revoke Home" }).click();
  await page.getByText("The address of “Home” is no more").waitFor();
  assert.equal((await fetch(url)).status, 404);
  await user.close();
});

test("without the network changes are kept, said to wait, and sent when it is back", async () => {
  const user = await newUser();
  const page = await user.open();
  await user.context.setOffline(true);
  await add(page, "Made on a train");
  await page.getByText("1 change is waiting").waitFor();
  assert.deepEqual(await user.call("GET", ""), []);
  await user.context.setOffline(false);
  await page.locator(".state.live").waitFor();
  const [task] = await user.call("GET", "");
  assert.equal(task.title, "Made on a train");
  await user.close();
});

test("a conflict shows both values, and the user chooses", async () => {
  const user = await newUser();
  const { id } = await user.call("POST", "", { title: "Buy milk" });
  const page = await user.open();
  await row(page, "Buy milk").waitFor();
  await user.context.setOffline(true);
  await page.getByRole("button", { name: "Buy milk", exact: true }).click();
  await page.getByLabel("Title").fill("Buy oat milk");
  await page.getByRole("button", { name: "Save" }).click();
  await user.call("PATCH", `/${id}`, { title: "Buy bread" });
  await user.context.setOffline(false);
  const dialog = page.getByRole("dialog", { name: "Changed in two places" });
  await dialog.getByRole("cell", { name: "Buy oat milk" }).waitFor();
  await dialog.getByRole("cell", { name: "Buy bread" }).waitFor();
  assert.deepEqual(await findings(page), []);
  await dialog.getByRole("button", { name: "Keep mine" }).click();
  await lists(page, ["Buy oat milk"]);
  await user.close();
});

test("a second user sees nothing of the first, in the same browser too", async () => {
  const [one, two] = [await newUser(), await newUser()];
  const page = await one.open();
  await add(page, "Secret");
  const other = await two.open();
  assert.deepEqual(await titles(other), []);
  await two.close();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Email").fill(two.email);
  await page.getByLabel("Password").fill(two.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".state.live").waitFor();
  assert.deepEqual(await titles(page), []);
  assert.doesNotMatch(await page.content(), /Secret/);
  await one.close();
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing in the ${colorScheme} theme, and nothing is wider than 360 px`, async () => {
    const user = await newUser({ colorScheme, reducedMotion: "reduce", viewport: { width: 360, height: 740 } });
    await user.call("POST", "/batch", { operations: ADDED });
    const deleted = await user.call("POST", "", { title: "Averyveryveryveryveryverylongtitlewithoutanyplacetobreakit" });
    await user.call("PATCH", `/${deleted.id}`, { priority: "high" });
    await user.call("DELETE", `/${deleted.id}`);
    for (const path of ["/", "/trash", "/history", "/statistics", "/files"]) {
      const page = await user.open(path);
      await page.locator(".tasks > li, .events > li, .numbers, .import").first().waitFor();
      if (path === "/") await page.getByRole("button", { name: "Write the report", exact: true }).click();
      assert.deepEqual(await findings(page), [], path);
      assert.equal(await overflow(page), 0, path);
      await page.close();
    }
    const context = await stranger({ colorScheme });
    const page = await context.newPage();
    await page.goto(APP);
    assert.deepEqual(await findings(page), []);
    await context.close();
    await user.close();
  });
}
