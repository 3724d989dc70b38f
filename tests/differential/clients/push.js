// Pushes with prom-client, the client library for JavaScript. See clients.rs.
const fs = require("fs");
const [modules, url, user, password, ca] = process.argv.slice(2);
const client = require(`${modules}/prom-client`);

const options = { auth: user ? `${user}:${password}` : undefined, ca: ca ? fs.readFileSync(ca) : undefined };

async function main() {
  const registry = new client.Registry();
  const registers = [registry];
  new client.Counter({ name: "js_jobs", help: "Jobs.", labelNames: ["kind"], registers }).inc({ kind: 'a"b\\c\n' }, 3);
  new client.Gauge({ name: "js_size", help: "Size.", registers }).set(1e9);
  new client.Histogram({ name: "js_seconds", help: "Time.", buckets: [0.1, 1], registers }).observe(0.5);
  new client.Summary({ name: "js_bytes", help: "Bytes.", percentiles: [0.5, 0.9], registers }).observe(7);
  const more = new client.Registry();
  new client.Gauge({ name: "js_size", help: "Size.", registers: [more] }).set(2);
  const all = new client.Pushgateway(url, options, registry);
  const some = new client.Pushgateway(url, options, more);
  for (const groupings of [{ zone: "z" }, { instance: "i", text: "a b ü" }]) {
    await all.push({ jobName: "js", groupings });
    await some.pushAdd({ jobName: "js", groupings });
  }
  await all.push({ jobName: "gone" });
  await all.delete({ jobName: "gone" });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
