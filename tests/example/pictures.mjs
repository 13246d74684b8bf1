// Pictures of the example, into the folder that is named: `light.png` and `dark.png`, and with `all` after it every page.
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

for (const colorScheme of ["light", "dark"]) {
  const user = await newUser({ colorScheme, reducedMotion: "reduce", viewport: { width: 960, height: colorScheme === "light" ? 720 : 960 }, timezoneId: "Europe/Lisbon" });
  for (const task of TASKS) await user.call("POST", "", { timezone: "Europe/Lisbon", ...task });
  const page = await user.open();
  await row(page, "Call grandma").waitFor();
  if (colorScheme === "light") {
    await row(page, "Book the train to Lisbon").getByRole("button", { name: /^Delete/ }).click();
    await page.getByText("Deleted “Book the train to Lisbon”").waitFor();
  } else {
    await page.getByRole("button", { name: "Call grandma", exact: true }).click();
    await page.locator(".preview", { hasText: "·" }).waitFor();
  }
  await page.mouse.move(1, 1);
  await take(page, colorScheme);
  if (all) await takeAll(user, page, colorScheme);
  await user.close();
}
await close();

async function takeAll(user, page, theme) {
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
