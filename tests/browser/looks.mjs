// Each page, on a desk and on a phone, light and dark: it fits, and whoever cannot see it can use it.
import assert from "node:assert/strict";
import { DESKTOP, PHONE, open, run, shows } from "./lib/browser.mjs";
import { fits, isAccessible } from "./lib/checks.mjs";
import { PAGES } from "./lib/pages.mjs";

// Everything that opens above a page.
async function dialogs(window, path) {
  await window.go(path);
  for (const button of await window.page.locator("button[data-dialog]").all()) {
    shows(`the dialog of "${await button.textContent()}" on ${path}`);
    await button.click();
    const dialog = window.page.locator("dialog[open]");
    await dialog.waitFor();
    await fits(window);
    await isAccessible(window);
    const { width } = window.page.viewportSize();
    const box = await dialog.boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= width, "the dialog is beside the window");
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "hidden" });
  }
}

run(async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const viewport of [DESKTOP, PHONE]) {
      const phone = viewport === PHONE ? { isMobile: true, hasTouch: true } : {};
      const window = await open(null, { viewport, colorScheme, ...phone });
      for (const { path, expects, status = 200, fill } of PAGES) {
        shows(`${path}, ${colorScheme}, ${viewport.width} wide`);
        if (status !== 200) window.tolerate(/status( of)? 40[04]/);
        assert.equal((await window.go(path)).status(), status);
        if (fill) await fill(window.page);
        await window.page.getByText(expects).first().waitFor();
        await fits(window);
        // Hidden columns have the same colours as those on a desk.
        if (viewport === DESKTOP || colorScheme === "light") await isAccessible(window);
        assert.equal(await window.page.locator("h1").count(), 1);
        assert.match(await window.page.title(), /^.+ · Tidegate$/);
      }
      shows(`its colours, ${colorScheme}`);
      const dark = await window.page.evaluate(() => {
        const [red] = getComputedStyle(document.documentElement).backgroundColor.match(/\d+/g);
        return Number(red) < 128;
      });
      assert.equal(dark, colorScheme === "dark");
      await dialogs(window, "/group?job=loadtest&team=search");
      await dialogs(window, "/");
      await window.close();
    }
  }
});
