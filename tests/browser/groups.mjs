// The page of groups: it finds and sorts, says how each is, and stays up to date by itself.
import assert from "node:assert/strict";
import { ask, open, push, run, send, shows } from "./lib/browser.mjs";
import { texts } from "./lib/checks.mjs";

const names = (window) => texts(window, "tbody th");

// The row of a group.
const row = ({ page }, text) => page.locator("tbody tr", { hasText: text });

async function finds(window, search, count) {
  const box = window.page.getByRole("searchbox");
  await box.fill(search);
  await box.press("Enter");
  const groups = count === 1 ? "1 group found" : `${count} groups found`;
  await window.page.getByText(groups, { exact: false }).waitFor();
  assert.equal((await names(window)).length, count);
  assert.equal(await box.inputValue(), search);
}

run(async () => {
  const window = await open("/");
  const { page } = window;
  shows("the groups that a search finds");
  for (const [search, count] of [
    ["backup", 5],
    ["BACKUP db", 2],
    ["instance=db1", 1],
    ['{job=~"etl-.+",instance!="spark-1"}', 2],
    ['job="inventory"', 2],
    ["nothing like this", 0],
  ]) {
    await finds(window, search, count);
  }
  await window.leads(() => page.getByRole("link", { name: "Show all" }).click());
  assert.equal((await names(window)).length, 17);

  shows("states");
  for (const [state, expected] of [
    ["late", ["job=backup instance=db2.example.org"]],
    ["refused", ["job=reports"]],
    ["permanent", ["job=inventory site=berlin", "job=inventory site=lisbon"]],
  ]) {
    await page.getByLabel("State").selectOption(state);
    await page.getByRole("button", { name: "Search" }).click();
    await page.waitForURL(new RegExp(`state=${state}`));
    assert.deepEqual(await names(window), expected);
  }
  await page.getByLabel("State").selectOption("");
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 17);

  shows("a search that cannot be carried out");
  window.tolerate(/status( of)? 400/);
  await page.getByRole("searchbox").fill('{job="');
  await page.getByRole("searchbox").press("Enter");
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByRole("searchbox").inputValue(), '{job="');
  await finds(window, "backup", 5);
  await window.go("/");

  shows("each order, both ways");
  const seen = {};
  for (const heading of ["Group", "Series", "Last push", "Rhythm", "State", "TTL", "Expires"]) {
    const link = page.locator("thead").getByRole("link", { name: heading });
    const header = page.locator("thead th", { hasText: heading });
    if (heading !== "Group") await link.click();
    await page.waitForFunction(
      (heading) => document.querySelector("thead th[aria-sort=ascending]")?.textContent.startsWith(heading),
      heading,
    );
    const up = await names(window);
    await link.click();
    await page.waitForFunction(() => document.querySelector("thead th[aria-sort=descending]"));
    assert.equal(await header.getAttribute("aria-sort"), "descending");
    assert.deepEqual(await names(window), up.toReversed(), heading);
    seen[heading] = up;
  }
  assert.equal(seen.Group[0], "job=backup instance=db1.example.org");
  assert.equal(seen.Series.at(-1).split(" ")[0], "job=backup");
  assert.equal(seen["Last push"].at(-1).split(" ")[0], "job=etl-orders");
  assert.match(seen.Expires.at(-1), /inventory/);
  assert.deepEqual(seen.Expires.slice(0, 2).map((name) => name.split(" ")[0]), ["job=ci-deploy", "job=etl-stock"]);

  shows("the texts of a row");
  await window.go("/");
  const said = (await row(window, "db1.example.org").innerText()).replace(/\s+/g, " ");
  for (const part of ["job=backup", "22h 2m ago", "every 1d", "fresh", "8d rule 1", "in 7d 1h"]) {
    assert.ok(said.includes(part), `${part} in ${said}`);
  }
  const time = row(window, "db1.example.org").locator("time").first();
  assert.equal(await time.getAttribute("datetime"), "2026-03-11T11:30:00Z");
  assert.equal(await time.getAttribute("title"), "2026-03-11T11:30:00Z");
  const source = row(window, "db1.example.org").locator("small span");
  assert.equal(await source.getAttribute("title"), '{job="backup"}');
  for (const [group, ttl] of [
    ["loadtest", "30d override"],
    ["newsletter", "1d 12h push"],
    ["certbot", "7d default"],
    ["inventory", "never rule 4"],
  ]) {
    const cell = row(window, group).first().locator("td").nth(4);
    assert.equal((await cell.innerText()).replace(/\s+/g, " ").trim(), ttl);
  }
  const left = (group) => row(window, group).locator("progress").evaluate((bar) => bar.value / bar.max);
  assert.ok((await left("etl-stock")) < 0.1 && (await left("db1.example.org")) > 0.8);
  assert.equal(await row(window, "berlin").locator("progress").count(), 0);
  const rhythm = row(window, "etl-orders").locator("svg.spark");
  assert.match(await rhythm.getAttribute("aria-label"), /: 1[45]m/);

  shows("bars run down while one looks, and times go on");
  const bar = row(window, "etl-stock").locator("progress");
  const before = await bar.evaluate((bar) => bar.value);
  await page.waitForFunction(
    (before) => [...document.querySelectorAll("progress")].some((bar) => bar.value < before),
    before,
  );

  shows("groups come, change and go by themselves");
  await page.evaluate(() => (globalThis.same = true));
  await push("aaa/instance/new", "m 1\n");
  await row(window, "instance=new").waitFor();
  await page.getByText("18 groups").waitFor();
  await push("aaa/instance/new", "m 1\nn 1\n");
  await page.waitForFunction(() => document.querySelector("tbody td").textContent === "2");
  await send("PUT", "/metrics/job/aaa/instance/new", "m 1 1\n", {}, 400);
  await row(window, "instance=new").getByText("refused").waitFor();
  await ask("advance", 20 * 60);
  await row(window, "etl-stock").waitFor({ state: "detached" });
  await send("DELETE", "/metrics/job/aaa/instance/new", null, {}, 202);
  await row(window, "instance=new").waitFor({ state: "detached" });
  assert.ok(await page.evaluate(() => globalThis.same), "the page was loaded anew");

  shows("a selection stays while the page is refreshed");
  await row(window, "db1.example.org").locator(".chip").first().selectText();
  await push("aaa/instance/new", "m 1\n");
  await page.waitForResponse((response) => response.url() === page.url());
  assert.match(await page.evaluate(() => getSelection().toString()), /job=backup/);
  await page.evaluate(() => getSelection().removeAllRanges());
  await row(window, "instance=new").waitFor();

  shows("a page that nobody sees asks for nothing");
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { get: () => globalThis.away ?? true, configurable: true });
  });
  let requests = 0;
  page.on("request", () => (requests += 1));
  await page.waitForTimeout(4000);
  assert.ok(requests <= 1, `${requests} requests`);
  requests = 0;
  await page.evaluate(() => {
    globalThis.away = false;
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await page.waitForResponse((response) => response.url() === page.url());
  await window.close();
});
