// Actions of a page on groups, and how they are undone.
import assert from "node:assert/strict";
import { open, push, run, send, shows } from "./lib/browser.mjs";
import { isAccessible, texts } from "./lib/checks.mjs";

const ALL = encodeURIComponent('{job=~".+"}');

async function groups(selector = "") {
  const match = selector ? encodeURIComponent(selector) : ALL;
  return JSON.parse(await send("GET", `/api/v2/groups?match[]=${match}`)).data.groups;
}

const group = async (job) => (await groups(`{job="${job}"}`))[0];

// Opens a dialog, and does something with its form.
async function dialog(page, button, act) {
  await page.getByRole("button", { name: button }).click();
  const open = page.locator("dialog[open]");
  await open.waitFor();
  await act(open);
  await open.waitFor({ state: "hidden" });
}

const press = (name) => (dialog) => dialog.getByRole("button", { name, exact: true }).click();

const says = ({ page }, text) => page.locator("#notice", { hasText: text }).waitFor();

const undo = ({ page }) => page.getByRole("button", { name: "Undo" }).click();

async function overrides(window) {
  const { page } = window;
  const set = (ttl) => async (dialog) => {
    await dialog.getByLabel("TTL").fill(ttl);
    await press("Set")(dialog);
  };
  shows("a TTL that is none");
  await window.go("/group?job=newsletter&list=weekly");
  window.tolerate(/status( of)? 400/);
  await dialog(page, "Override TTL…", set("soon"));
  await says(window, "soon");
  assert.ok(await page.locator("#notice.failed").isVisible());
  await isAccessible(window);
  assert.equal((await group("newsletter")).ttl_source, "push");
  shows("a TTL is set");
  await dialog(page, "Override TTL…", set("30d"));
  await says(window, "The TTL was set.");
  await page.getByText("Why it lives for 30d").waitFor();
  assert.equal((await group("newsletter")).ttl_source, "override");
  await isAccessible(window);
  shows("and that is taken back");
  await undo(window);
  await says(window, "The TTL is as it was.");
  await page.getByText("Why it lives for 1d 12h").waitFor();
  assert.equal((await group("newsletter")).ttl_source, "push");
  shows("a TTL is set after that, and taken back to what was there before it");
  await dialog(page, "Override TTL…", set("20h"));
  await page.getByText("Why it lives for 20h").waitFor();
  await undo(window);
  await says(window, "The TTL is as it was.");
  assert.deepEqual(await group("newsletter").then(({ ttl, ttl_source }) => [ttl, ttl_source]), ["1d 12h", "push"]);
  shows("a TTL over a TTL, and the way back through the dialog");
  await window.go("/group?job=loadtest&team=search");
  await dialog(page, "Override TTL…", set("never"));
  await page.getByText("Why it lives for never").waitFor();
  await undo(window);
  await page.getByText("Why it lives for 30d").waitFor();
  await dialog(page, "Override TTL…", press("Take back"));
  await page.getByText("Why it lives for 7d").waitFor();
  assert.equal((await group("loadtest")).ttl_source, "default");
}

async function renews(window) {
  shows("a group is renewed");
  await window.go("/group?job=etl-stock&instance=spark-1");
  const before = Date.parse((await group("etl-stock")).expires);
  await dialog(window.page, "Renew…", press("Cancel"));
  assert.equal(Date.parse((await group("etl-stock")).expires), before);
  await dialog(window.page, "Renew…", press("Renew"));
  await says(window, "Renewed");
  assert.ok(Date.parse((await group("etl-stock")).expires) > before + 2 * 3600_000);
  await window.page.locator("#facts").getByText("in 2h").waitFor();
}

async function deletes(window) {
  const { page } = window;
  shows("a group is deleted");
  const path = "/group?job=backup&instance=mail";
  await window.go(path);
  const before = (await groups('{job="backup",instance="mail"}'))[0];
  await dialog(page, "Delete…", press("Cancel"));
  assert.equal((await groups('{job="backup"}')).length, 5);
  await dialog(page, "Delete…", press("Delete"));
  await says(window, "The group was deleted.");
  await page.getByText("16 groups.", { exact: true }).waitFor();
  assert.equal((await groups('{job="backup"}')).length, 4);
  shows("and restored");
  await undo(window);
  await says(window, "The group is back.");
  await page.getByText("17 groups.", { exact: true }).waitFor();
  const after = (await groups('{job="backup",instance="mail"}'))[0];
  assert.deepEqual([after.last_push, after.series], [before.last_push, before.series]);
  shows("one that is deleted meanwhile");
  await push("meanwhile", "m 1\n");
  await window.go("/group?job=meanwhile");
  await send("DELETE", "/metrics/job/meanwhile", null, {}, 202);
  window.tolerate(/status( of)? 404/);
  await page.getByText("There is no such group").waitFor();
}

async function restores(window) {
  const { page } = window;
  shows("a removed group is restored");
  await window.go("/expired?search=migration");
  assert.match((await texts(window, "tbody tr"))[0], /^job=migration step=7 .*deleted/);
  await page.getByRole("button", { name: /^Restore .*migration/ }).click();
  await says(window, "The group is back");
  await page.getByText("0 groups found").waitFor();
  assert.equal((await group("migration")).series, 1);
  await window.go("/expired?search=ci-deploy");
  assert.match((await texts(window, "tbody tr"))[0], /expired: TTL 2h rule 3 \{job="ci-deploy"/);
}

async function deletesMany(window) {
  const { page } = window;
  const type = (word) => async (dialog) => {
    await dialog.getByLabel("Type delete").fill(word);
    await dialog.locator("button[type=submit]").click();
  };
  shows("all groups found are deleted, once a word was typed");
  await window.go("/?search=etl-");
  await page.getByRole("button", { name: "Delete all groups found…" }).click();
  const box = page.locator("dialog[open]");
  await box.getByText("3 groups will be missing").waitFor();
  await type("no")(box);
  assert.ok(await box.isVisible(), "it closes only once the word is right");
  await type("")(box);
  assert.equal((await groups()).length, 18);
  await type("delete")(box);
  await says(window, "Deleted 3 groups");
  await page.getByText("0 groups found").waitFor();
  assert.equal((await groups()).length, 15);
  shows("everything is deleted");
  await window.go("/");
  await dialog(page, "Delete everything…", type("delete"));
  await page.getByText("Nothing has been pushed yet").waitFor();
  assert.equal((await groups()).length, 0);
  await window.go("/expired?search=inventory");
  await page.getByRole("button", { name: /^Restore .*berlin/ }).click();
  await page.getByText("1 group found").waitFor();
  assert.equal((await groups()).length, 1);
}

run(async () => {
  const window = await open("/");
  await overrides(window);
  await renews(window);
  await deletes(window);
  await restores(window);
  await deletesMany(window);
  await window.close();
});
