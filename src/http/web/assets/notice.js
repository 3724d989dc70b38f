// What came of an action, with a way back where there is one; and whether the gateway answers.

const notice = document.getElementById("notice");
const connection = document.getElementById("connection");
const KEPT = "tidegate-notice";

/** Shows a text, and a button that calls `undo`. */
export function show(text, { undo, failed = false } = {}) {
  notice.classList.toggle("failed", failed);
  notice.replaceChildren(document.createTextNode(text));
  if (undo) notice.append(" ", button("Undo", undo));
  notice.append(" ", button("Dismiss", () => notice.replaceChildren()));
}

function button(text, act) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", textContent: text });
  made.addEventListener("click", act);
  return made;
}

/** Keeps a notice for the page that comes next: its text, and the request that undoes. */
export function keep(kept) {
  sessionStorage.setItem(KEPT, JSON.stringify(kept));
}

/** Takes what an earlier page has kept. */
export function takeKept() {
  const kept = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  return kept ? JSON.parse(kept) : null;
}

// The modules that undo import this one; so they tell it how.
let undoer = null;
export function undoWith(how) {
  undoer = how;
}

/** Shows what the page before has done. */
export function showKept() {
  const kept = takeKept();
  if (kept) show(kept.text, { undo: kept.undo && (() => undoer(kept.undo)) });
}

/** Says that the gateway does not answer, or no longer says so. */
export function setConnected(connected, reason = "The gateway does not answer") {
  const text = connected ? "" : `${reason}; reconnecting\u2026`;
  if (connection.textContent !== text) connection.textContent = text;
}
