// Times that go on while one looks: "3m ago", and bars that run down to a deadline. Durations are
// written as `readable.rs` writes them.

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];

// The gateway's clock minus this one's, in milliseconds.
let ahead = Number(document.body.dataset.now) - Date.now();

/** A page of the gateway has come: its clock says what time it is. */
export function setNow(now) {
  ahead = Number(now) - Date.now();
}

/** A number of seconds, in its two largest units. */
export function duration(seconds) {
  let rest = Math.floor(seconds);
  const first = UNITS.findIndex(([, size]) => rest >= size);
  if (first < 0) return "0s";
  const parts = [];
  for (const [unit, size] of UNITS.slice(first, first + 2)) {
    if (rest >= size) parts.push(`${Math.floor(rest / size)}${unit}`);
    rest %= size;
  }
  return parts.join(" ");
}

/** How far an instant, in milliseconds, is from now. */
export function relative(at) {
  const millis = Date.now() + ahead - at;
  const length = duration(Math.abs(millis) / 1000);
  return millis >= 0 ? `${length} ago` : `in ${length}`;
}

/** An instant in full. */
export function full(at) {
  return new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
}

/** A time of the page, as an element. */
export function timeElement(at) {
  const element = document.createElement("time");
  Object.assign(element, { dateTime: full(at), title: full(at), textContent: relative(at) });
  element.dataset.at = at;
  return element;
}

/** Brings all that shows the time up to date. */
export function tick() {
  for (const element of document.querySelectorAll("time[data-at]")) {
    const text = relative(Number(element.dataset.at));
    if (element.textContent !== text) element.textContent = text;
  }
  for (const bar of document.querySelectorAll("progress[data-until]")) {
    const left = Number(bar.dataset.until) - Date.now() - ahead;
    bar.value = Math.min(Math.max(left, 0), bar.max);
  }
}
