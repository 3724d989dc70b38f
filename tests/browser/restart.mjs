// The gateway goes, and comes back with what it had: pages say so, and go on.
import assert from "node:assert/strict";
import { ask, open, push, run, shows } from "./lib/browser.mjs";
import { isAccessible } from "./lib/checks.mjs";

run(async () => {
  await push("kept/instance/before", "m 1\n");
  const windows = [];
  for (const path of ["/", "/live", "/group?job=kept&instance=before", "/expiry", "/status"]) {
    const window = await open(path);
    window.tolerate(/net::ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING|CONNECTION_RESET|EMPTY_RESPONSE)/);
    // It is there before what it has is.
    window.tolerate(/status( of)? 503/);
    windows.push(window);
  }
  const [groups, live, group] = windows;
  for (const how of ["killed", "stopped"]) {
    shows(`${how}: the banner`);
    await ask(how);
    for (const { page } of windows) {
      await page.bringToFront();
      const banner = page.locator("#connection[role=status]");
      await banner.getByText("reconnecting").waitFor();
    }
    await isAccessible(live);
    shows(`${how}: an action says that nobody answers`);
    await group.page.getByRole("button", { name: "Renew…" }).click();
    await group.page.locator("dialog[open]").getByRole("button", { name: "Renew" }).click();
    await group.page.locator("#notice", { hasText: "does not answer" }).waitFor();

    shows(`${how}: it is back`);
    await ask("start");
    for (const { page } of windows) {
      await page.bringToFront();
      await page.locator("#connection").waitFor({ state: "hidden" });
      assert.equal(await page.locator("#connection").textContent(), "");
    }
    await groups.page.getByText("instance=before").waitFor();
    await push(`kept/instance/${how}`, "m 1\n");
    for (const { page } of [groups, live]) await page.getByText(`instance=${how}`).first().waitFor();
    const times = await live.page.locator("tbody tr", { hasText: `instance=${how}` }).count();
    assert.equal(times, 1, "each event is there once");
  }
  for (const window of windows) await window.close();
});
