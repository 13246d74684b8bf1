// The example over a service without an assistant.
import { after, test } from "node:test";
import { close, newUser } from "./browser.mjs";

after(close);

test("without a model the panel says what is missing, and the tasks are there", async () => {
  const user = await newUser();
  const page = await user.open();
  await page.getByRole("button", { name: "Assistant", exact: true }).click();
  await page.getByRole("alert").getByText("This service has no assistant: whoever runs it sets ASSISTANT_MODEL").waitFor();
  await user.close();
});
