// Events: those that were, as the server says them, and those that come, as they come.
import assert from "node:assert/strict";
import { ask, eventually, open, push, run, send, shows } from "./lib/browser.mjs";
import { fits, isAccessible, texts } from "./lib/checks.mjs";

const WAITS = 800;

async function happens(number) {
  const path = `live/instance/i${number}`;
  await push(path, "m 1\n", { "Tidegate-TTL": "10m" });
  await push(`${path}/kept/yes`, "m 1\n", { "Tidegate-TTL": "never" });
  await send("PUT", `/metrics/job/${path}`, "m 1 1\n", {}, 400);
  await send("DELETE", `/metrics/job/${path}/kept/yes`, null, {}, 202);
  await ask("advance", 11 * 60);
}

run(async () => {
  const window = await open("/live");
  const { page } = window;
  const rows = page.locator("tbody tr");
  shows("events as they happen");
  await happens(1);
  await eventually("the event of expiry", async () => /expired.*instance=i1/.test((await texts(window, "tbody tr"))[0]));
  const came = await texts(window, "tbody tr");
  for (const kind of ["pushed", "refused", "deleted", "expired"]) {
    assert.ok(came.some((row) => row.includes(`${kind} job=live instance=i1`)), kind);
  }
  await fits(window);
  await isAccessible(window);
  shows("the server says the same of it");
  const times = /\b(in )?\d+[dhms]( \d+[dhms])?( ago)?/g;
  const alike = (rows) => rows.slice(0, 6).map((row) => row.replace(times, "TIME"));
  const titles = () => page.locator("tbody time").evaluateAll((all) => all.slice(0, 6).map((time) => time.title));
  const [before, at] = [alike(came), await titles()];
  await page.reload();
  assert.deepEqual(alike(await texts(window, "tbody tr")), before);
  assert.deepEqual(await titles(), at);

  shows("Pause holds them back, and Go on shows them");
  const count = await rows.count();
  await page.getByRole("button", { name: "Pause" }).click();
  await happens(2);
  // Some of the demo have expired meanwhile, too.
  await page.locator("#pending", { hasText: /^[5-9] more$/ }).waitFor();
  assert.equal(await rows.count(), count);
  await page.getByRole("button", { name: "Go on" }).click();
  await rows.first().getByText("instance=i2").waitFor();
  assert.equal(await page.locator("#pending").textContent(), "");

  shows("a filter");
  await page.getByLabel("refused").check();
  await page.getByRole("searchbox").fill("instance=i3");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByText("Nothing has happened yet").waitFor();
  await happens(4);
  await happens(3);
  await rows.first().waitFor();
  assert.deepEqual((await texts(window, "tbody tr")).map((row) => row.includes("refused job=live instance=i3")), [true]);
  assert.equal(await page.getByText("Nothing has happened yet").count(), 0);

  shows("the way back to it");
  await window.go("/live");
  await page.getByRole("link", { name: "Groups" }).click();
  await page.waitForURL(/\/$/);
  await page.goBack();
  await push("live/instance/back", "m 1\n");
  await rows.first().getByText("instance=back").waitFor();

  shows("many at once");
  const burst = Array.from({ length: WAITS }, (_, number) => `burst/instance/b${number}`);
  while (burst.length > 0) await Promise.all(burst.splice(0, 50).map((path) => push(path, "m 1\n")));
  await push("burst/instance/last", "m 1\n");
  await rows.first().getByText("instance=last").waitFor();
  assert.ok((await rows.count()) <= 500, "they would fill the memory");
  await window.close();
});
