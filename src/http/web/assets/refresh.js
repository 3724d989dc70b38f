// Keeps the page up to date: asks for it again every few seconds, and takes over the parts that
// are marked `data-live` where they have changed.

import { setConnected } from "./notice.js";
import { setNow, tick } from "./time.js";

const RETRY_MILLIS = 1000;
// Before it counts as no answer.
const PATIENCE_MILLIS = 10_000;

const every = Number(document.body.dataset.refresh) * 1000;
// What is shown, as it came.
const shown = new Map();
let running = null;

/** Begins, if the page says how often. */
export function begin() {
  if (!every) return;
  remember();
  schedule(every);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
}

function remember() {
  shown.clear();
  for (const part of document.querySelectorAll("[data-live]")) shown.set(part.id, part.outerHTML);
}

function schedule(millis) {
  clearTimeout(running);
  running = setTimeout(refresh, millis);
}

/** Asks for the page now. */
export async function refresh() {
  // Nobody sees it; it is asked for once somebody does.
  if (document.hidden) return;
  clearTimeout(running);
  try {
    const response = await fetch(location.href, { signal: AbortSignal.timeout(PATIENCE_MILLIS) });
    if (response.status === 401 || response.status === 403) {
      setConnected(false, "Access has changed");
      return;
    }
    // What is gone has a page that says so.
    if (!response.ok && response.status !== 404) throw new Error(response.statusText);
    takeOver(new DOMParser().parseFromString(await response.text(), "text/html"), response.ok);
    setConnected(true);
    schedule(every);
  } catch {
    setConnected(false);
    schedule(RETRY_MILLIS);
  }
}

function takeOver(fresh, ok) {
  setNow(fresh.body.dataset.now);
  const main = document.getElementById("main");
  if (!ok) {
    if (!main.querySelector("[role=alert]")) main.replaceChildren(...fresh.getElementById("main").childNodes);
    return;
  }
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (!old) {
      // The first group has come, or the last has gone: it is another page.
      main.replaceChildren(...fresh.getElementById("main").childNodes);
      remember();
      break;
    }
    const html = part.outerHTML;
    // What somebody has selected, or is about to press, stays.
    if (shown.get(part.id) === html || isInUse(old)) continue;
    shown.set(part.id, html);
    replace(old, part);
  }
  tick();
}

function isInUse(part) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(part, true);
}

// The focus stays where it was, and so does how far the part is scrolled.
function replace(old, part) {
  const focused = old.contains(document.activeElement) && document.activeElement;
  const same = focused && [...old.querySelectorAll("a, button, [tabindex]")].indexOf(focused);
  const scrolled = [...old.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
  old.replaceWith(part);
  const scrolls = part.querySelectorAll(".scroll");
  scrolled.forEach((left, at) => scrolls[at] && (scrolls[at].scrollLeft = left));
  if (!focused) return;
  const alike = focused.href && [...part.querySelectorAll("a")].find((link) => link.href === focused.href);
  const found = alike || part.querySelectorAll("a, button, [tabindex]")[same];
  found?.focus({ preventScroll: true });
}
