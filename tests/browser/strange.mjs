// Pushed text is shown as it is, whatever is in it, and nothing of it is executed.
import assert from "node:assert/strict";
import { open, run, send, shows } from "./lib/browser.mjs";
import { chips, fits, isAccessible, texts } from "./lib/checks.mjs";

const VALUES = {
  quotes: `"it's" \`quoted\` \\ "`,
  script: "<script>globalThis.executed = 1</script>",
  image: `"><img src=x onerror="globalThis.executed = 1">`,
  entity: "&lt;b&gt; &amp;amp; &#x27; <!-- --> ]]>",
  breaks: "first\nsecond\r\n\tthird\n",
  blanks: "  two  blanks  ",
  hebrew: "שלום עולם (1)",
  arabic: "مرحبا <b>بالعالم</b>",
  override: "\u202egnp.exe\u202c",
  wide: "𝄞 😀 🏴‍☠️ e\u0301 \u200b",
  path: "../a/./b//c?d=e&f#g%2F+%",
  empty: "",
  long: `long ${"word".repeat(3000)}`,
};
const HELP = `Help "quoted" <img src=x onerror="globalThis.executed = 1"> שלום 😀`;

const base64 = (text) => Buffer.from(text).toString("base64url") || "=";
const escaped = (text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');

async function nothingRan(window) {
  assert.equal(await window.page.evaluate(() => globalThis.executed), undefined);
  assert.equal(await window.page.locator("main img, main script, main b").count(), 0);
}

run(async () => {
  const entries = Object.entries(VALUES);
  for (const [name, value] of entries) {
    const body = `# HELP m ${HELP}\n# TYPE m gauge\nm{of="${escaped(value)}"} 1\n`;
    await send("PUT", `/metrics/job/strange/a_name/${name}/value@base64/${base64(value)}`, body);
  }
  await send("PUT", `/metrics/job@base64/${base64(VALUES.image)}/U__l_3c_b_3e_/x`, "n 1\n");

  const window = await open("/?sort=name");
  const { page } = window;
  const labels = (name) => ["job=strange", `a_name=${name}`, `value=${VALUES[name]}`];
  const row = (name) => page.locator("tbody tr").filter({ has: page.getByText(new RegExp(`^a_name=${name}$`)) });
  shows("groups");
  for (const [name] of entries) assert.deepEqual(await chips(row(name).locator("th")), labels(name));
  const html = page.locator("tbody tr", { hasText: "<b>=x" });
  assert.deepEqual(await chips(html.locator("th")), [`job=${VALUES.image}`, "l<b>=x"]);
  await nothingRan(window);
  await fits(window);
  await isAccessible(window);

  for (const [name, value] of entries) {
    shows(`the group of ${name}`);
    await window.go("/");
    await row(name).locator("th a").click();
    await page.waitForURL(/group\?/);
    assert.deepEqual(await chips(page.locator("h1")), labels(name));
    assert.deepEqual(await chips(page.locator(".series")), [`of=${value}`]);
    assert.equal(await page.locator(".help").textContent(), HELP);
    const exposition = await page.locator("#exposition").textContent();
    if (value !== "") assert.ok(exposition.includes(`of="${escaped(value)}"`), exposition);
    assert.ok(exposition.includes(`# HELP m ${HELP}\n`), exposition);
    await nothingRan(window);
    await fits(window);
  }

  shows("events as they come");
  await window.go("/live");
  const events = () => page.locator("tbody tr");
  for (const [name, value] of entries) {
    await send("PUT", `/metrics/job/strange/a_name/${name}/value@base64/${base64(value)}`, "m 1 1\n", {}, 400);
    const refused = events().filter({ hasText: "refused" }).first();
    await refused.getByText(`a_name=${name}`).waitFor();
    // An event has the labels in the order of their names.
    assert.deepEqual((await chips(refused)).toSorted(), labels(name).toSorted());
  }
  await nothingRan(window);
  const link = await events().filter({ hasText: "a_name=long" }).first().locator("a").getAttribute("href");
  await fits(window);
  assert.ok(link.length > 12_000);

  shows("deleted in its dialog, and found among what went");
  for (const name of ["image", "breaks", "hebrew", "path"]) {
    await window.go("/");
    await row(name).locator("th a").click();
    await page.getByRole("button", { name: "Delete…" }).click();
    assert.deepEqual(await chips(page.locator("dialog[open]")), labels(name));
    await page.locator("dialog[open]").getByRole("button", { name: "Delete" }).click();
    await page.getByText("The group was deleted.").waitFor();
    assert.equal(await row(name).count(), 0);
    await window.go("/expired");
    assert.deepEqual(await chips(row(name).locator("th")), labels(name));
    await nothingRan(window);
    await row(name).getByRole("button").click();
    await row(name).waitFor({ state: "detached" });
    await window.go("/");
    assert.deepEqual(await chips(row(name).locator("th")), labels(name));
  }

  shows("searched for");
  await window.go(`/?search=${encodeURIComponent(VALUES.script)}`);
  assert.equal(await page.getByRole("searchbox").inputValue(), VALUES.script);
  assert.equal((await texts(window, "tbody tr")).length, 1);
  shows("the picture, and what leads on from it");
  await window.go("/expiry?over=month");
  await page.locator(".legend a", { hasText: "onerror" }).click();
  await page.waitForURL(/search=/);
  assert.equal((await texts(window, "tbody tr")).length, 1);
  await nothingRan(window);
  await window.close();
});
