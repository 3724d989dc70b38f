// The pages of the demo gateway: where, what one must read there, and what is done to get there.

// Another table for Expiry: backups go sooner, and some groups would expire at once.
export const PROPOSED = `[ttl]
default = "30d"

[[ttl.rules]]
match = '{job="backup"}'
ttl = "12h"
`;

async function compare(page) {
  await page.locator("textarea").fill(PROPOSED);
  await page.getByRole("button", { name: "Compare" }).click();
  await page.waitForURL(/#proposal$/);
}

const REFUSED = encodeURIComponent('{job="');

export const PAGES = [
  { name: "groups", path: "/", expects: "17 groups" },
  { name: "groups-found", path: "/?search=backup&sort=-last_push", expects: "5 groups found" },
  { name: "groups-state", path: "/?state=late", expects: "1 group found" },
  { name: "groups-none", path: "/?search=nothing", expects: "0 groups found" },
  { name: "groups-beyond", path: "/?page=99", expects: "There is no page 99" },
  { name: "groups-refused", path: `/?search=${REFUSED}`, expects: "search", status: 400 },
  { name: "group", path: "/group?job=backup&instance=db1.example.org", expects: "backup_chunk_upload_seconds" },
  { name: "group-etl", path: "/group?job=etl-orders&instance=spark-3", expects: "Quantile" },
  { name: "group-refused", path: "/group?job=reports", expects: "Last refused push" },
  { name: "group-gone", path: "/group?job=migration&step=7", expects: "There is no such group", status: 404 },
  { name: "expiry-hour", path: "/expiry?over=hour", expects: "within the next hour" },
  { name: "expiry", path: "/expiry?over=day", expects: "within the next day" },
  { name: "expiry-week", path: "/expiry?over=week", expects: "within the next week" },
  { name: "expiry-month", path: "/expiry?over=month", expects: "within the next month" },
  { name: "expiry-compared", path: "/expiry", expects: "would live longer or shorter", fill: compare },
  { name: "expired", path: "/expired", expects: "migration" },
  { name: "live", path: "/live", expects: "etl-orders" },
  { name: "status", path: "/status", expects: "web.enable-admin-api" },
];
