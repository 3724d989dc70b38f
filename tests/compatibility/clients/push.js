// prom-client, the client library for JavaScript, step by step; says what came of each. See main.rs.
const fs = require("fs");
const [modules, url, user, password, ca, certificate] = process.argv.slice(2);
const client = require(`${modules}/prom-client`);

const read = (file) => (file ? fs.readFileSync(file) : undefined);
const tls = { ca: read(ca), cert: read(certificate), key: read(certificate) };
const auth = user ? `${user}:${password}` : undefined;

// The user may also stand in the URL.
const named = new URL(url);
named.username = user;
named.password = password;

const gateway = (registry, options = {}) => new client.Pushgateway(url, { auth, ...tls, ...options }, registry);

async function step(name, does) {
  let outcome = "ok";
  try {
    await does();
  } catch (error) {
    outcome = error.message;
  }
  console.log(`${name}: ${outcome.trim().split(/\s+/).join(" ")}`);
}

function gauges(values) {
  const registry = new client.Registry();
  for (const [name, value] of Object.entries(values)) {
    new client.Gauge({ name, help: `Help of ${name}.`, registers: [registry] }).set(value);
  }
  return registry;
}

async function ttl() {
  const label = (jobName, __ttl__) => gateway(gauges({ of: 1 })).push({ jobName, groupings: { __ttl__ } });
  await step("label", () => label("label", "2h"));
  await step("gauge", () => gateway(gauges({ push_ttl_seconds: 7200 })).push({ jobName: "gauge" }));
  await step("malformed", () => label("malformed", "soon"));
}

async function main() {
  const types = new client.Registry();
  const registers = [types];
  const help = 'Jobs, "quoted\\\nand broken.';
  new client.Counter({ name: "jobs", help, labelNames: ["kind"], registers }).inc({ kind: 'a"b\\c\n' }, 3);
  const level = new client.Gauge({ name: "level", help: "Level.", labelNames: ["of"], registers });
  for (const of of [1e9, 1e-7, NaN, Infinity, -Infinity, -0, 1e21]) level.set({ of }, of);
  new client.Histogram({ name: "took_seconds", help: "Time.", buckets: [0.1, 1], registers }).observe(0.5);
  new client.Summary({ name: "size_bytes", help: "Bytes.", percentiles: [0.5, 0.9], registers }).observe(7);

  const all = { jobName: "types", groupings: { instance: "i", zone: "z" } };
  await step("types", () => gateway(types).push(all));
  const gzip = { headers: { "Content-Encoding": "gzip" } };
  await step("gzip", () => gateway(types, gzip).push({ jobName: "gzip" }));
  await step("user", () => new client.Pushgateway(named.href, tls, gauges({ of: 1 })).push({ jobName: "user" }));
  // Of two dots the reference is led to another group, which this gateway does not do.
  const values = ["/var/tmp", "", "ü€𝄞", "a=b&c", "100%", '"\\', "/", "a/b/", "a b+c", "...", "a?b#c", "a\nb"];
  for (const [number, value] of values.entries()) {
    const place = { jobName: "values", groupings: { value } };
    await step(`value ${number}`, () => gateway(gauges({ of: number })).push(place));
  }
  await step("job", () => gateway(gauges({ of: 1 })).push({ jobName: "a/b" }));
  await step("two", () => gateway(gauges({ first: 1, second: 2 })).push({ jobName: "added" }));
  await step("add", () => gateway(gauges({ second: 3 }), gzip).pushAdd({ jobName: "added" }));
  await step("more", () => gateway(gauges({ first: 4, second: 5 })).push({ jobName: "replaced" }));
  await step("less", () => gateway(gauges({ first: 6 })).push({ jobName: "replaced" }));
  const gone = { jobName: "gone", groupings: { instance: "i" } };
  await step("push", () => gateway(gauges({ first: 7 })).push(gone));
  await step("delete", () => gateway().delete(gone));
  await step("delete none", () => gateway().delete({ jobName: "never" }));
  const reserved = { jobName: "reserved", groupings: { __x: "y" } };
  await step("reserved", () => gateway(gauges({ first: 8 })).push(reserved));
  const conflict = new client.Registry();
  new client.Summary({ name: "first", help: "Help of first.", registers: [conflict] }).observe(1);
  await step("conflict", () => gateway(conflict).push({ jobName: "conflict" }));
  // A delete is only queued when it is answered; what is pushed after it is applied after it.
  await step("last", () => gateway(gauges({ first: 9 })).push({ jobName: "last" }));
}

if (process.env.STEPS === "ttl") ttl();
else main();
