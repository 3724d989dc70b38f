// Checks of every page.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { told } from "./browser.mjs";

const axe = readFileSync(told.axe, "utf8");

// The page is as wide as the window: only what has its own bar scrolls sideways.
export async function fits({ page }) {
  const { wide, view, widest } = await page.evaluate(() => {
    const view = document.documentElement.clientWidth;
    const all = [...document.querySelectorAll("body *")];
    const beyond = all.filter((element) => element.getBoundingClientRect().right > view + 1);
    const name = (element) => `${element.tagName}.${element.className} #${element.id}`;
    return {
      wide: document.documentElement.scrollWidth,
      view,
      widest: beyond.slice(0, 5).map(name).join(", "),
    };
  });
  assert.ok(wide <= view, `${page.url()}: ${wide} wide in a window of ${view}: ${widest}`);
}

// No violation of any rule that axe knows, best practices included.
export async function isAccessible({ page }) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const found = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return found.violations.map(({ id, help, nodes }) => {
      const places = nodes.slice(0, 4).map(({ html, failureSummary }) => `${html}\n      ${failureSummary}`);
      return `${id}: ${help}\n    ${places.join("\n    ")}`;
    });
  });
  assert.equal(violations.length, 0, `${page.url()}:\n${violations.join("\n")}`);
}

// The texts of all elements that a selector takes; the cells of a row are apart.
export function texts(window, selector) {
  return window.page.locator(selector).evaluateAll((elements) => {
    const parts = (element) => (element.cells ? [...element.cells] : [element]);
    const text = (element) => parts(element).map((part) => part.textContent).join(" ");
    return elements.map((element) => text(element).replace(/\s+/g, " ").trim());
  });
}

// The labels of a group as the page shows them, such as job=backup instance=db1. As they are, with
// every blank.
export function chips(locator) {
  return locator.locator(".chip").evaluateAll((chips) => chips.map((chip) => chip.textContent));
}
