// Buttons that do something: open a dialog, copy, or ask the API. The API judges anew whether it
// may be done.

import { keep, show, undoWith } from "./notice.js";
import { refresh } from "./refresh.js";

/** Listens for clicks and forms, also of parts of the page that come later. */
export function begin() {
  undoWith(undo);
  document.addEventListener("click", clicked);
  document.addEventListener("submit", submitted);
}

function clicked(event) {
  const button = event.target.closest("button");
  if (!button) return;
  const { dialog, copy } = button.dataset;
  if (dialog) document.getElementById(dialog).showModal();
  if ("close" in button.dataset) button.closest("dialog").close();
  if (copy) copyText(document.getElementById(copy));
}

async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    show("Copied.");
  } catch {
    // Without TLS browsers give no access to the clipboard: then it is at least selected.
    getSelection().selectAllChildren(element);
    show("Selected: copy it with the keyboard.");
  }
}

function submitted(event) {
  const form = event.target;
  const { action, url, word } = form.dataset;
  if (!action) return;
  event.preventDefault();
  const data = new FormData(form, event.submitter);
  if (word && data.get("word") !== word) return;
  const target = new URL(url, location.href);
  for (const [name, value] of data) {
    if (name !== "word") target.searchParams.set(name, value);
  }
  form.closest("dialog")?.close();
  carryOut(form, action, target, event.submitter);
}

async function carryOut(form, method, target, button) {
  const { done, then, undoMethod, undoUrl, undoDone } = form.dataset;
  const undoing = undoMethod && { method: undoMethod, url: undoUrl, done: undoDone };
  if (button) button.disabled = true;
  const error = await ask(method, target);
  if (button) button.disabled = false;
  if (error) {
    show(error, { failed: true });
  } else if (then) {
    keep({ text: done, undo: undoing });
    location.assign(then);
  } else {
    await reload({ text: done, undo: undoing }, form);
  }
}

async function undo({ method, url, done }) {
  const error = await ask(method, new URL(url, location.href));
  if (error) return show(error, { failed: true });
  // The dialogs of the page are those from before.
  keep({ text: done });
  location.reload();
}

// Dialogs say how to undo, which is another thing after each change: then all of the page is new.
async function reload(kept, form) {
  if (form?.closest("dialog") || !document.body.dataset.refresh) {
    keep(kept);
    location.reload();
  } else {
    await refresh();
    show(kept.text);
  }
}

/** Asks the API. Returns what is wrong, if something is. */
async function ask(method, url) {
  try {
    const response = await fetch(url, { method });
    if (response.ok) return null;
    const text = await response.text();
    try {
      return JSON.parse(text).error;
    } catch {
      return text || `${response.status} ${response.statusText}`;
    }
  } catch {
    return "The gateway does not answer. Nothing is known to have changed.";
  }
}
