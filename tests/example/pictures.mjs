// Pictures of the example, into the folder that is named: `light.png`, and of two windows with the assistant
// `light-windows.png` and `dark-windows.png`; with `all` after it every page.
import { mkdir, stat } from "node:fs/promises";
import { close, newUser, row } from "./browser.mjs";

const [folder, all] = process.argv.slice(2);
await mkdir(folder, { recursive: true });

const day = (away) => new Date(Date.now() + away * 86_400_000).toISOString().slice(0, 10);
const TASKS = [
  { title: "Return the library books", due_date: day(-2), tags: ["errands"] },
  { title: "Book the train to Lisbon", tags: ["travel"], priority: "low" },
  { title: "Renew the passport", description: "Photos are in the top drawer", priority: "high", due_date: day(12), tags: ["travel"] },
  { title: "Repot the basil", tags: ["home"], completed: true },
  { title: "Call grandma", due_date: day(1), recurring_pattern: "weekly", recurring: true, tags: ["family"] },
  { title: "Water the plants", due_date: day(0), recurring_pattern: "FREQ=WEEKLY;INTERVAL=2", recurring: true, tags: ["home"] },
  { title: "Send the autumn figures to Ines", description: "With the chart of last year beside", priority: "high", due_date: `${day(0)}T16:30:00Z`, tags: ["work"] },
];

async function take(page, name) {
  const path = `${folder}/${name}.png`;
  await page.screenshot({ path });
  console.log(path, (await stat(path)).size);
}

const TITLE_BAR = 28; // px

/** Windows beside each other, as on a desk. */
async function desk(user, pages, name) {
  const windows = [];
  for (const page of pages) {
    await page.mouse.move(1, 1);
    await page.evaluate(() => scrollTo(0, 0));
    const { width } = page.viewportSize();
    windows.push(`<figure><i></i><i></i><i></i><img width="${width}" src="data:image/png;base64,${(await page.screenshot()).toString("base64")}"></figure>`);
  }
  const canvas = await user.context.newPage();
  const widths = pages.map((page) => page.viewportSize().width);
  const width = widths.reduce((sum, one) => sum + one + 24, 24);
  await canvas.setViewportSize({ width, height: pages[0].viewportSize().height + TITLE_BAR + 48 });
  await canvas.setContent(`<style>
    :root { color-scheme: light dark; }
    body { margin: 0; padding: 24px; display: flex; gap: 24px; background: light-dark(#cfdcd5, #2b3a36); }
    figure { margin: 0; border-radius: 12px; overflow: clip; line-height: 0; background: light-dark(#eeebe2, #101315); box-shadow: 0 10px 30px rgb(0 0 0 / 22%); }
    i { display: inline-block; width: 10px; height: 10px; margin: 9px 0 9px 9px; border-radius: 50%; background: light-dark(#cbc6b9, #3b4245); }
    img { display: block; }
  </style>${windows.join("")}`);
  await take(canvas, name);
  await canvas.close();
}

/** Somebody with tasks, and as many windows of theirs. */
async function begin(colorScheme, ...sizes) {
  const user = await newUser({ colorScheme, reducedMotion: "reduce", timezoneId: "Europe/Lisbon" });
  for (const task of TASKS) await user.call("POST", "", { timezone: "Europe/Lisbon", ...task });
  const pages = [];
  for (const size of sizes) {
    const page = await user.open();
    await page.setViewportSize(size);
    await row(page, "Call grandma").waitFor();
    pages.push(page);
  }
  return { user, pages };
}

const height = 860;

for (const colorScheme of ["light", "dark"]) {
  if (colorScheme === "light") {
    const { user, pages: [page] } = await begin(colorScheme, { width: 552, height });
    await row(page, "Book the train to Lisbon").getByRole("checkbox").click();
    await row(page, "Return the library books").getByRole("button", { name: /^Delete/ }).click();
    await page.getByText("Deleted “Return the library books”").waitFor();
    await desk(user, [page], colorScheme);
    await user.close();
  }
  const { user, pages: [list, page] } = await begin(colorScheme, { width: 384, height }, { width: 800, height });
  await page.getByRole("button", { name: "Assistant", exact: true }).click();
  await ask(page, "add Buy stamps and Post the letters", "Done: Buy stamps, Post the letters.");
  await ask(page, "delete library", "Delete 1 task?");
  await row(list, "Post the letters").waitFor();
  await page.locator("h1", { hasText: "Tasks" }).click(); // the focus goes from the box
  await desk(user, [list, page], `${colorScheme}-windows`);
  if (all) await takeAll(user, page, colorScheme);
  await user.close();
}
await close();

async function ask(page, text, answer) {
  await page.getByRole("button", { name: "Send", exact: true }).waitFor();
  await page.getByLabel("Message to the assistant").fill(text);
  await page.keyboard.press("Enter");
  await page.locator(".talk").getByText(answer).waitFor();
}

async function takeAll(user, page, theme) {
  for (const [width, height] of [[1180, 800], [800, 800], [360, 740]]) {
    await page.setViewportSize({ width, height });
    await take(page, `${theme}-${width}-assistant`);
  }
  await page.getByRole("button", { name: "Assistant", exact: true }).click();
  for (const [width, height] of [[1100, 800], [360, 740]]) {
    for (const path of ["/", "/trash", "/history", "/statistics", "/files"]) {
      await page.close();
      page = await user.open(path);
      await page.setViewportSize({ width, height });
      await page.locator(".tasks > li, .events > li, .numbers, .import, .empty").first().waitFor();
      await take(page, `${theme}-${width}${path.replace("/", "-")}`);
    }
  }
  await page.goto(page.url().replace(/files$/, ""));
  await page.locator(".state.live").waitFor();
  await page.getByRole("button", { name: "Call grandma", exact: true }).click();
  await page.locator(".preview", { hasText: "·" }).waitFor();
  await take(page, `${theme}-360-edit`);
  await user.context.setOffline(true);
  await page.getByLabel("Title").fill("Call grandma and grandpa");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".banner", { hasText: "waiting" }).waitFor();
  await take(page, `${theme}-360-offline`);
  const grandma = (await user.call("GET", "?search=grandma"))[0];
  await user.call("PATCH", `/${grandma.id}`, { title: "Visit grandma" });
  await user.context.setOffline(false);
  await page.getByRole("dialog").waitFor();
  await take(page, `${theme}-360-conflict`);
  await page.setViewportSize({ width: 1100, height: 800 });
  await take(page, `${theme}-1100-conflict`);
  await user.context.clearCookies();
  await page.goto(page.url());
  await take(page, `${theme}-1100-sign-in`);
}
