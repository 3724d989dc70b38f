// A script of tests/browser, in a real Chromium. Its parameters come as JSON in its first argument;
// its output is shown where it fails. See main.rs.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

export const told = JSON.parse(process.argv[2]);
const { chromium } = createRequire(`${told.modules}/`)("playwright-core");

// A page waits for less time than this, unless it is broken.
const PATIENCE = 30_000;

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

const questions = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Has the test do something to the gateway, and returns what it says.
export async function ask(what, value = null) {
  console.log(`ask ${JSON.stringify({ what, value })}`);
  const { value: line, done } = await questions.next();
  if (done) throw new Error(`the test does not answer "${what}"`);
  return JSON.parse(line);
}

// Sends a request beside the browser, as a job that pushes does, and wants this status.
export async function send(method, path, body, headers = {}, status = 200) {
  const response = await fetch(told.url + path, { method, body, headers });
  const text = await response.text();
  if (response.status !== status) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text;
}

export const push = (path, body, headers) => send("PUT", `/metrics/job/${path}`, body, headers);

// Looks until `look` returns something that is true.
export async function eventually(what, look) {
  const began = Date.now();
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() - began > PATIENCE) throw new Error(`${what}: not within ${PATIENCE} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// A window that has never been used, and all that goes wrong in it.
class Window {
  problems = [];
  // Expected problems: expressions for their texts.
  tolerated = [];

  constructor(context, page, url) {
    this.context = context;
    this.page = page;
    this.url = url;
    const host = new URL(url).host;
    const problem = (text) => this.problems.push(text);
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) {
        problem(`console ${message.type()}: ${message.text()} ${message.location().url ?? ""}`);
      }
    });
    page.on("pageerror", (error) => problem(`error of the page: ${error.stack ?? error}`));
    page.on("crash", () => problem("the page crashed"));
    page.on("dialog", (dialog) => {
      problem(`a box of the browser: ${dialog.message()}`);
      dialog.dismiss();
    });
    context.on("request", (request) => {
      const to = new URL(request.url());
      if (!["data:", "blob:", "about:"].includes(to.protocol) && to.host !== host) {
        problem(`a request to another host: ${request.url()}`);
      }
      if (to.protocol !== "about:" && !request.url().startsWith(url)) {
        problem(`a request beside ${url}: ${request.url()}`);
      }
    });
    page.on("response", (response) => {
      if (response.status() >= 400) problem(`status ${response.status()}: ${response.url()}`);
    });
  }

  // From now on nothing is made of problems whose text matches.
  tolerate(expression) {
    this.tolerated.push(expression);
  }

  // Fails where anything went wrong until now that is not tolerated.
  async isClean() {
    const violations = await this.page.evaluate(() => globalThis.violations ?? []);
    const found = this.problems.concat(violations);
    const problems = found.filter((text) => !this.tolerated.some((expression) => expression.test(text)));
    if (problems.length > 0) throw new Error(`${this.page.url()}:\n${problems.join("\n")}`);
  }

  async go(path) {
    return this.page.goto(this.url + path, { waitUntil: "load" });
  }

  // Does `act`, which leads to another page, and returns once that page is loaded. A click alone
  // returns before the browser leaves, so that a reading meets either page, or none.
  async leads(act) {
    const loaded = this.page.waitForEvent("load");
    await act();
    await loaded;
  }

  async close() {
    await this.isClean();
    await this.context.close();
  }
}

const browser = await chromium.launch({
  executablePath: told.chromium,
  // Tests may run as root, and in a container whose shared memory is small.
  args: ["--no-sandbox", "--disable-dev-shm-usage", ...(told.flags ?? [])],
});

// The requests of the page are recorded from its first instant on.
function watch() {
  globalThis.violations = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    globalThis.violations.push(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
  });
}

export async function open(path = "/", options = {}) {
  const { url = told.url, ...rest } = options;
  const context = await browser.newContext({
    viewport: DESKTOP,
    colorScheme: "light",
    reducedMotion: "reduce",
    timezoneId: "UTC",
    locale: "en-GB",
    ...rest,
  });
  context.setDefaultTimeout(PATIENCE);
  await context.addInitScript(watch);
  const window = new Window(context, await context.newPage(), url);
  if (path !== null) await window.go(path);
  return window;
}

let step = "the start";

// Says what is being shown, for whoever reads a failure.
export function shows(what) {
  step = what;
  console.log(`- ${what}`);
}

// Runs a script to its end.
export async function run(main) {
  try {
    await main(browser);
    await browser.close();
    process.exit(0);
  } catch (error) {
    console.log(`FAILED at "${step}": ${error.stack ?? error}`);
    for (const context of browser.contexts()) {
      for (const page of context.pages()) {
        const text = await page.locator("body").innerText({ timeout: 1000 }).catch(() => "");
        console.log(`--- ${page.url()}\n${text.slice(0, 3000)}`);
      }
    }
    await browser.close().catch(() => {});
    process.exit(1);
  }
}
