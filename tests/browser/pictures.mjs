// A picture of each page, for people to look at.
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { DESKTOP, PHONE, open, run, shows, told } from "./lib/browser.mjs";
import { PAGES } from "./lib/pages.mjs";

// They are to be kept with the sources.
const BYTES_MAX = 150_000;
const NAMES = ["groups", "group", "group-refused", "expiry", "expiry-compared", "expired", "live", "status"];

async function take(name, options, picture) {
  const window = await open(null, options);
  window.tolerate(/status( of)? 404/);
  const { path, expects, fill } = PAGES.find((page) => page.name === name);
  await window.go(path);
  if (fill) await fill(window.page);
  await window.page.getByText(expects).first().waitFor();
  const file = `${told.pictures}/${picture}.png`;
  shows(file);
  // The part below is cut off: a page may be long.
  await window.page.screenshot({ path: file, clip: { x: 0, y: 0, ...options.viewport } });
  assert.ok(statSync(file).size < BYTES_MAX, `${file}: ${statSync(file).size} bytes`);
  await window.close();
}

run(async () => {
  const wide = { ...DESKTOP, height: 680 };
  for (const name of NAMES) await take(name, { viewport: wide }, name);
  await take("groups", { viewport: wide, colorScheme: "dark" }, "groups-dark");
  await take("group", { viewport: PHONE, isMobile: true }, "group-phone");
});
