// When groups expire, and the effect of another table.
import assert from "node:assert/strict";
import { open, run, shows } from "./lib/browser.mjs";
import { texts } from "./lib/checks.mjs";
import { PROPOSED } from "./lib/pages.mjs";

run(async () => {
  const window = await open("/expiry");
  const { page } = window;
  const totals = { hour: 2, day: 6, week: 10, month: 15 };
  for (const [over, total] of Object.entries(totals)) {
    shows(`the next ${over}`);
    await page.getByRole("link", { name: `Next ${over}` }).click();
    await page.waitForURL(new RegExp(`over=${over}`));
    const summary = await page.locator("#picture .summary").innerText();
    assert.match(summary, new RegExp(`^${total} groups will expire within the next ${over} .* and 2 never`));
    const bars = await page.locator("svg.stacks a").evaluateAll((bars) =>
      bars.map((bar) => [bar.getAttribute("aria-label"), bar.href.baseVal]));
    const counts = bars.map(([label]) => Number(label.match(/: (\d+) groups?$/)[1]));
    assert.equal(counts.reduce((sum, count) => sum + count, 0), total);
    const legend = await texts(window, ".legend tbody td");
    assert.equal(legend.reduce((sum, count) => sum + Number(count), 0), total);
    // The bar with most, and the last.
    for (const at of new Set([counts.indexOf(Math.max(...counts)), counts.length - 1])) {
      await window.go(`/${bars[at][1].replace(/^\.\//, "")}`);
      assert.equal((await texts(window, "tbody tr")).length, counts[at], bars[at][0]);
      await page.goBack();
    }
  }
  shows("a bar is clicked");
  await page.locator("svg.stacks a").first().click();
  await page.waitForURL(/from=\d+/);
  await page.getByText("They expire from").waitFor();

  shows("a search narrows it");
  await window.go("/expiry?over=month");
  await page.getByRole("searchbox").fill("backup");
  await page.getByRole("searchbox").press("Enter");
  await page.getByText("5 groups will expire within the next month").waitFor();
  await window.go("/expiry");

  shows("today's table changes nothing");
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByText("0 would live longer or shorter").waitFor();
  assert.equal(await page.locator("#proposal tbody tr").count(), 0);
  shows("another does");
  await page.locator("textarea").fill(PROPOSED);
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByText("would expire at once").waitFor();
  const rows = await texts(window, "#proposal tbody tr");
  const of = (group) => rows.filter((row) => row.startsWith(group)).join("\n");
  assert.match(of("job=backup instance=db1"), /goes 8d rule 1, in 7d 1h 12h rule 1, /);
  assert.match(of("job=certbot instance=mail"), /later 7d default, .* 30d default, in 29d 17h/);
  assert.match(of("job=inventory site=berlin"), /sooner never rule 4, never 30d default, /);
  assert.equal(of("job=loadtest"), "", "a TTL that an operator has set stays");
  shows("it is of no effect");
  await window.go("/");
  assert.equal((await texts(window, "tbody tr")).length, 17);
  await window.close();
});
