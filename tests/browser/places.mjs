// Below a path, behind a proxy, over TLS, for users and for whoever may only read: the same pages.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { open, run, shows, told } from "./lib/browser.mjs";
import { isAccessible, texts } from "./lib/checks.mjs";

const { url, user, password, may } = told;
if (url.startsWith("https:")) process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
const headers = user ? { Authorization: `Basic ${btoa(`${user}:${password}`)}` } : {};
const pusher = told.pusher ? { Authorization: `Bearer ${told.pusher}` } : headers;

async function push(path) {
  const response = await fetch(`${url}/metrics/job/${path}`, { method: "PUT", body: "m 1\n", headers: pusher });
  assert.equal(response.status, 200, await response.text());
}

// Actions that change something, if they are allowed.
const actions = "button[data-dialog], form[data-action], dialog, button.dangerous";

async function readsOnly(window) {
  for (const path of ["/", "/group?job=place&instance=a", "/expired", "/expiry", "/live"]) {
    shows(`nothing is offered on ${path}`);
    await window.go(path);
    await window.page.locator("h1").waitFor();
    assert.equal(await window.page.locator(actions).count(), 0);
    await isAccessible(window);
  }
}

async function acts({ page }) {
  shows("a group is deleted, and restored");
  await page.getByRole("link", { name: "Groups" }).first().click();
  await page.getByText("instance=a").click();
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.locator("dialog[open]").getByRole("button", { name: "Delete" }).click();
  await page.getByText("The group was deleted.").waitFor();
  await page.getByText("1 group.").waitFor();
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByText("2 groups.").waitFor();
  shows("to delete all, a setting is named");
  await page.getByText("web.enable-admin-api").waitFor();
}

run(async () => {
  const credentials = user ? { httpCredentials: { username: user, password } } : {};
  const window = await open("/", { ...credentials, ignoreHTTPSErrors: true });
  const { page } = window;
  if (told.curl) {
    shows("the line for the first push, run as it stands");
    const line = await page.locator("#first-push").textContent();
    const { status, stderr } = spawnSync("sh", ["-ec", line.replace("curl", "curl --fail --no-progress-meter")], { encoding: "utf8" });
    assert.equal(status, 0, `${line}\n${stderr}`);
    await page.locator("tbody").getByText("job=some_job").waitFor();
    shows("the page is then as if it were loaded anew");
    const live = await page.locator("main").innerText();
    await page.reload();
    const parts = async () => [await page.getByRole("searchbox").count(), await page.locator("h1").count()];
    assert.ok(live.includes("Search") && (await parts()).every((count) => count === 1), live);
    const path = `${url}/metrics/job/some_job`;
    assert.equal((await fetch(path, { method: "DELETE", headers: pusher })).status, 202);
    await page.locator("#first-push").waitFor();
  }
  if (told.line) assert.ok((await page.locator("#first-push").textContent()).includes(told.line));
  await push("place/instance/a");
  await push("place/instance/b");
  await page.getByText("instance=a").waitFor();
  for (const name of ["Expiry", "Expired", "Live", "Status", "Groups"]) {
    shows(name);
    await window.leads(() => page.getByRole("link", { name, exact: true }).first().click());
    await page.locator(`nav a[aria-current]`, { hasText: name }).waitFor();
    assert.equal(await page.locator("h1").textContent(), name);
    const styled = await page.evaluate(() => document.styleSheets[0].cssRules.length > 10);
    assert.ok(styled, "it has its style sheet");
  }
  shows("a search result leads to a group");
  await page.getByRole("searchbox").fill("instance=b");
  await page.getByRole("searchbox").press("Enter");
  await page.getByText("1 group found").waitFor();
  await window.leads(() => page.locator("tbody th a").click());
  assert.deepEqual(await texts(window, "h1"), ["job=place instance=b"]);
  shows("an event is shown");
  await page.getByRole("link", { name: "Live" }).click();
  await push("place/instance/b");
  await page.locator("tbody tr", { hasText: "instance=b" }).nth(1).waitFor();
  shows("and so is a proposal");
  await page.getByRole("link", { name: "Expiry" }).click();
  await page.getByRole("button", { name: "Compare" }).click();
  await page.getByText("0 would live longer").waitFor();
  if (may === "read") await readsOnly(window);
  else await acts(window);
  await window.close();

  if (!user) return;
  shows("whoever is nobody sees nothing");
  const stranger = await open(null, { ignoreHTTPSErrors: true, httpCredentials: { username: user, password: "wrong" } });
  stranger.tolerate(/40[13]|favicon|ERR_INVALID_AUTH_CREDENTIALS/);
  for (const path of ["/", "/group?job=place&instance=a", "/live", "/status"]) {
    const answer = await stranger.go(path).catch(() => null);
    if (answer) assert.equal(answer.status(), 401);
    assert.ok(!(await stranger.page.content()).includes("instance=a"));
  }
  await stranger.close();
});
