// Whoever has only a keyboard gets everywhere, and sees where.
import assert from "node:assert/strict";
import { ask, open, push, run, shows } from "./lib/browser.mjs";

const focused = ({ page }) =>
  page.evaluate(() => {
    const { activeElement: element } = document;
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    return {
      tag: element.tagName,
      text: (element.getAttribute("aria-label") ?? element.textContent).replace(/\s+/g, " ").trim(),
      name: element.name ?? "",
      seen: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
    };
  });

// Presses Tab until something has the focus, and returns what had it on the way.
async function tabTo(window, is, key = "Tab") {
  const way = [];
  for (let presses = 0; presses < 80; presses += 1) {
    await window.page.keyboard.press(key);
    const now = await focused(window);
    way.push(now);
    assert.ok(now.seen || now.tag === "BODY", `one does not see where the focus is: ${JSON.stringify(now)}`);
    if (is(now)) return way;
  }
  throw new Error(`not reached: ${JSON.stringify(way)}`);
}

run(async () => {
  const window = await open("/");
  const { page } = window;
  shows("the first stop leads over the header");
  const [first] = await tabTo(window, () => true);
  assert.equal(first.text, "Skip to the content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");

  shows("a search, a group");
  await tabTo(window, ({ name }) => name === "search");
  await page.keyboard.type("etl-orders");
  await page.keyboard.press("Enter");
  await page.getByText("1 group found").waitFor();
  await tabTo(window, ({ text }) => text.startsWith("job=etl-orders"));

  shows("the focus stays while the page is refreshed");
  await push("etl-orders/instance/spark-4", "m 1\n");
  await page.getByText("2 groups found").waitFor();
  assert.equal((await focused(window)).text, "job=etl-orders instance=spark-3");
  await page.keyboard.press("Enter");
  await page.waitForURL(/group\?/);

  for (const button of ["Renew…", "Override TTL…", "Delete…"]) {
    shows(`the dialog of ${button}`);
    await tabTo(window, ({ text }) => text === button);
    await page.keyboard.press("Enter");
    const dialog = page.locator("dialog[open]");
    await dialog.waitFor();
    const inside = () => page.evaluate(() => !!document.activeElement.closest("dialog[open]"));
    assert.ok(await inside(), "the focus is in the dialog");
    for (let presses = 0; presses < 8; presses += 1) {
      await page.keyboard.press("Tab");
      const { tag } = await focused(window);
      assert.ok(tag === "BODY" || (await inside()), "the focus leaves the dialog");
    }
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    assert.equal((await focused(window)).text, button);
  }

  shows("a group is deleted and restored");
  await page.keyboard.press("Enter");
  await tabTo(window, ({ tag, text }) => tag === "BUTTON" && text === "Delete");
  await page.keyboard.press("Enter");
  await page.getByText("The group was deleted.").waitFor();
  await tabTo(window, ({ text }) => text === "Undo", "Shift+Tab");
  await page.keyboard.press("Enter");
  await page.getByText("The group is back.").waitFor();

  shows("a bar of the picture");
  await window.go("/expiry?over=week");
  await tabTo(window, ({ text }) => /: \d+ groups?$/.test(text));
  await page.keyboard.press("Enter");
  await page.waitForURL(/from=\d+&to=\d+/);

  shows("Pause");
  await window.go("/live");
  await tabTo(window, ({ text }) => text === "Pause");
  await page.keyboard.press("Space");
  assert.equal((await focused(window)).text, "Go on");
  await window.close();
});
