// Without JavaScript: every page reads well, whatever leads on leads there, and nothing is offered
// that could not be done.
import assert from "node:assert/strict";
import { PHONE, open, run, shows } from "./lib/browser.mjs";
import { fits, texts } from "./lib/checks.mjs";
import { PAGES, PROPOSED } from "./lib/pages.mjs";

// Controls that need scripts, and yet can be seen.
function useless(page) {
  return page.evaluate(() => {
    const seen = (element) => element.checkVisibility();
    const needs = [...document.querySelectorAll("button[type=button], form[data-action], .needs-script")];
    return needs.filter(seen).map((element) => element.outerHTML);
  });
}

run(async () => {
  const window = await open(null, { javaScriptEnabled: false });
  const { page } = window;
  const phone = await open(null, { javaScriptEnabled: false, viewport: PHONE, isMobile: true });
  for (const each of [window, phone]) {
    each.tolerate(/status( of)? 40[04]/);
    for (const { path, expects, fill } of PAGES) {
      shows(`${path}, ${each.page.viewportSize().width} wide`);
      await each.go(path);
      assert.equal(await each.page.evaluate(() => document.documentElement.className), "", "no script ran");
      if (fill) await fill(each.page);
      assert.ok((await each.page.locator("main").innerText()).includes(expects), expects);
      assert.deepEqual(await useless(each.page), []);
      await fits(each);
    }
  }

  shows("a search by words, by a selector, and by state");
  await window.go("/");
  const search = page.getByRole("searchbox");
  await search.fill("db2");
  await window.leads(() => page.getByRole("button", { name: "Search" }).click());
  assert.deepEqual(await texts(window, "tbody th"), ["job=backup instance=db2.example.org"]);
  await search.fill('{job=~"etl-.+"}');
  await window.leads(() => search.press("Enter"));
  assert.equal((await texts(window, "tbody th")).length, 3);
  await page.getByLabel("State").selectOption("expiring");
  await window.leads(() => page.getByRole("button", { name: "Search" }).click());
  assert.deepEqual(await texts(window, "tbody th"), ["job=etl-stock instance=spark-1"]);

  shows("the way to a group and back");
  await window.leads(() => page.locator("tbody th a").click());
  assert.equal((await texts(window, "h1"))[0], "job=etl-stock instance=spark-1");
  await window.leads(() => page.getByRole("link", { name: "Groups" }).first().click());
  assert.equal((await texts(window, "tbody tr")).length, 17);

  shows("a heading sorts");
  await window.leads(() => page.getByRole("link", { name: "Series" }).click());
  await window.leads(() => page.getByRole("link", { name: "Series" }).click());
  const series = (await texts(window, "tbody td:nth-child(2)")).map(Number);
  assert.deepEqual(series, series.toSorted((a, b) => b - a));

  shows("another table");
  await window.leads(() => page.getByRole("link", { name: "Expiry" }).click());
  await page.locator("textarea").fill(PROPOSED);
  await window.leads(() => page.getByRole("button", { name: "Compare" }).click());
  const rows = await texts(window, "#proposal tbody tr");
  const gone = rows.filter((row) => row.startsWith("job=backup instance=db2.example.org goes"));
  assert.equal(gone.length, 1, rows.join("\n"));
  assert.equal(await page.locator("textarea").inputValue(), PROPOSED);

  shows("a table with mistakes");
  await page.locator("textarea").fill('[ttl]\ndefault = "soon"\nmix = 1\n');
  await window.leads(() => page.getByRole("button", { name: "Compare" }).click());
  const [error] = await texts(window, "[role=alert]");
  assert.ok(error.includes("ttl.default") && error.includes("mix"), error);

  shows("events of a kind");
  await window.leads(() => page.getByRole("link", { name: "Live" }).click());
  await page.getByLabel("refused").check();
  await window.leads(() => page.getByRole("button", { name: "Search" }).click());
  assert.deepEqual([...new Set(await texts(window, "tbody td:nth-child(2)"))], ["refused"]);
  // Chromium does not show it, as it only refuses to run scripts.
  assert.match(await page.locator("noscript").textContent(), /Load the page again/);
  await window.close();
  await phone.close();
});
