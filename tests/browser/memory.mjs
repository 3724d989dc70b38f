// A tab that stays open takes no more and more memory, however much happens meanwhile.
import assert from "node:assert/strict";
import { eventually, open, push, run, shows, told } from "./lib/browser.mjs";

const BYTES_MAX = 1_500_000;
const NODES_MAX = 3000;

async function measure(window) {
  const session = await window.context.newCDPSession(window.page);
  await session.send("Performance.enable");
  await session.send("HeapProfiler.collectGarbage");
  const { metrics } = await session.send("Performance.getMetrics");
  await session.detach();
  const of = (name) => metrics.find((metric) => metric.name === name).value;
  return { bytes: of("JSHeapUsedSize"), nodes: of("Nodes"), listeners: of("JSEventListeners") };
}

let pushes = 0;
async function someHappen() {
  const numbers = Array.from({ length: 25 }, () => (pushes += 1));
  await Promise.all(numbers.map((number) => push(`many/instance/i${number % 100}`, `m ${number}\n`)));
}

// As if somebody came back to the tab, which asks for the page at once.
async function refresh({ page }) {
  const came = page.waitForResponse((response) => response.url() === page.url());
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await (await came).finished();
}

run(async () => {
  const begin = Date.now();
  await someHappen();
  const windows = [await open("/"), await open("/live"), await open("/group?job=many&instance=i1")];
  const [groups, live, group] = windows;
  const goOn = async (rounds, until) => {
    for (let round = 0; round < rounds || Date.now() < until; round += 1) {
      await someHappen();
      if (round < rounds) for (const window of [groups, group]) await refresh(window);
      else await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await push("many/instance/last", `m ${pushes}\n`);
    const first = live.page.locator("tbody tr").first();
    await eventually("the last event", async () => (await first.textContent()).includes("instance=last"));
  };
  // The table of events is full once 500 have come.
  await goOn(25, 0);
  const before = await Promise.all(windows.map(measure));
  await goOn(40, begin + told.seconds * 1000);
  const after = await Promise.all(windows.map(measure));
  windows.forEach(({ page }, at) => {
    const grown = (name) => after[at][name] - before[at][name];
    shows(`${page.url()}: ${before[at].bytes} bytes before, ${after[at].bytes} after ${pushes} pushes`);
    assert.ok(grown("bytes") < BYTES_MAX, `${page.url()}: ${grown("bytes")} bytes more`);
    assert.ok(grown("nodes") < NODES_MAX, `${page.url()}: ${grown("nodes")} nodes more`);
    assert.ok(grown("listeners") < 50, `${page.url()}: ${grown("listeners")} listeners more`);
  });
  for (const window of windows) await window.close();
});
