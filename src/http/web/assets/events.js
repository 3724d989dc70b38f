// What happens, as it happens: rows for the server-sent events of the API, as `live.rs` makes them.

import { setConnected } from "./notice.js";
import { full, timeElement } from "./time.js";

const ROWS_MAX = 500;
const WAITING_MAX = 5000;
const SHOW_EVERY_MILLIS = 250;
const RETRY_MILLIS = 1000;
const KINDS = ["pushed", "refused", "expired", "deleted"];

const table = document.querySelector("table[data-follow]");
const pause = document.getElementById("pause");
const pending = document.getElementById("pending");
let waiting = [];
let passedOver = false;
let last = table?.dataset.last;

/** Begins, if the page shows events. */
export function follow() {
  if (!table) return;
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") !== "true";
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Go on" : "Pause";
    show();
  });
  setInterval(show, SHOW_EVERY_MILLIS);
  connect();
}

function connect() {
  const url = new URL(table.dataset.follow, location.href);
  url.searchParams.set("last_event_id", last);
  const source = new EventSource(url);
  source.addEventListener("open", () => setConnected(true));
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => {
      last = event.lastEventId;
      add(JSON.parse(event.data));
    });
  }
  source.addEventListener("missed", () => (passedOver = true));
  // A browser tries again by itself only where the connection broke, not where it was refused.
  source.addEventListener("error", () => {
    setConnected(false);
    source.close();
    setTimeout(connect, RETRY_MILLIS);
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}

function add(event) {
  waiting.push(event);
  if (waiting.length > WAITING_MAX) {
    waiting.shift();
    passedOver = true;
  }
}

function show() {
  if (pause.getAttribute("aria-pressed") === "true") {
    const text = waiting.length ? `${waiting.length} more` : "";
    if (pending.textContent !== text) pending.textContent = text;
    return;
  }
  if (pending.textContent) pending.textContent = "";
  if (!waiting.length && !passedOver) return;
  document.getElementById("no-events")?.remove();
  const body = table.tBodies[0];
  if (passedOver) body.prepend(gap());
  body.prepend(...waiting.slice(-ROWS_MAX).reverse().map(row));
  waiting = [];
  passedOver = false;
  while (body.rows.length > ROWS_MAX) body.lastElementChild.remove();
}

function gap() {
  const cell = element("td", "quiet", "Some are missing here: there were too many.");
  cell.colSpan = 4;
  return element("tr", "", cell);
}

function row(event) {
  const kind = event.event ?? event.why;
  const made = element("tr");
  const link = element("a", "chips", ...chips(event.labels));
  link.href = `group?${new URLSearchParams(Object.entries(event.labels))}`;
  made.append(
    element("td", "", timeElement(Date.parse(event.at))),
    element("td", "", element("span", `state ${kind}`, kind)),
    element("td", "", link),
    element("td", "", ...more(kind, event)),
  );
  return made;
}

function more(kind, event) {
  if (kind === "refused") return [element("bdi", "", event.error)];
  if (kind !== "pushed") return [`TTL ${event.ttl}`];
  if (event.expires === "never") return ["for ever"];
  const until = element("time", "", full(Date.parse(event.expires)));
  until.dateTime = until.textContent;
  return ["until ", until];
}

function chips(labels) {
  const { job, ...others } = labels;
  return Object.entries({ job, ...others }).flatMap(([name, value]) => [
    element("span", "chip", element("span", "name", `${name}=`), element("bdi", "", value)),
    " ",
  ]);
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}
