// What a network costs two ranks: `node bench/network.js`, on Linux as root, with Open MPI and Python 3. Network namespaces stand for two machines; the
// link between them is as fast as the system has it, then 1 Gb/s, then 1 Gb/s with 10 ms from end to end. Beside each step is what `lowrank plan`
// makes of the same, and first of all that a known number of bytes crosses the link in no less than its time.
// Options: --base models/tiny, --data FILE, --steps 20, --lora-r 8,448 (lora.r), --only "1 Gb/s" (one link), --json.

import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { plan } from "../dist/node/index.js";
import { median } from "./common.js";
import { twoHosts } from "./ranks/hosts.js";
import { asRanks } from "./ranks/launch.js";

const TINY = fileURLToPath(new URL("../models/tiny", import.meta.url));
const { values: asked } = parseArgs({
  options: {
    base: { type: "string", default: TINY },
    data: { type: "string", default: join(TINY, "data/train.jsonl") },
    steps: { type: "string", default: "20" },
    "lora-r": { type: "string", default: "8,448" },
    only: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const LINKS = [
  { name: "free" },
  { name: "1 Gb/s", bitsPerSecond: 1e9 },
  { name: "1 Gb/s, 10 ms", bitsPerSecond: 1e9, seconds: 0.01 },
].filter(({ name }) => asked.only === undefined || name === asked.only);
if (LINKS.length === 0) throw new Error(`--only: there is no link of the name ${asked.only}`);
/** Numbers of the sum that shows that the link is crossed: 16 MB. */
const FLOATS = 4e6;
const SKIP = 4;

const folder = mkdtempSync(join(tmpdir(), "lowrank-network-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));

const cases = asked["lora-r"].split(",").map((r) => ({
  r: Number(r),
  options: {
    base: asked.base,
    data: { train: asked.data, maxSeqLen: 128 },
    lora: { r: Number(r), alpha: 2 * Number(r), targetModules: "all-linear" },
    batchSize: 8,
    gradientAccumulationSteps: 2,
    maxSteps: Number(asked.steps) + SKIP,
    threads: 1,
  },
}));

const found = [];
for (const link of LINKS) {
  const hosts = await twoHosts(link);
  try {
    const runs = cases.map(({ r, options }) => ({
      options: { ...options, outputDir: join(folder, `${link.name[0]}${link.seconds ?? 0}-${r}`) },
      skip: SKIP,
    }));
    found.push({ link, ...(await asRanks({ sums: [{ floats: FLOATS, times: 3 }], runs }, hosts.launch, hosts.env)) });
  } finally {
    hosts.remove();
  }
}
const rows = [];
for (const [i, { r, options }] of cases.entries())
  for (const { link, runs } of found) {
    const network = { bitsPerSecond: link.bitsPerSecond ?? 1e15, ...(link.seconds ? { latency: link.seconds } : {}) };
    const { scaling, trainableParameters } = await plan(options, { ranks: 2, network });
    rows.push({
      r,
      bytes: 4 * trainableParameters,
      link: link.name,
      seconds: median(runs[i].seconds),
      best: Math.min(...runs[i].seconds),
      modelled: scaling.asked,
    });
  }
const sums = found.map(({ link, sums: [{ bytes, seconds, sent, received }] }) => ({
  link: link.name, bytes, seconds: Math.min(...seconds), sent: sent / seconds.length, received: received / seconds.length,
  least: link.bitsPerSecond ? (8 * bytes) / link.bitsPerSecond : 0,
})); // biome-ignore format: a table's columns
if (asked.json) console.log(JSON.stringify({ sums, rows }));
else print();

function print() {
  const ms = (seconds) => `${(1000 * seconds).toFixed(1)} ms`;
  const mb = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;
  console.log(`load ${loadavg()[0].toFixed(1)}`);
  for (const { link, bytes, seconds, sent, received, least } of sums)
    console.log(
      `${link}: a sum of ${mb(bytes)} sent ${mb(sent)} and received ${mb(received)} in ${ms(seconds)}; the rate allows ${ms(least)}`,
    );
  console.log(
    "| gradient | link | a step | its fastest | longer than free | modelled |\n| --- | --- | --- | --- | --- | --- |",
  );
  for (const { r, bytes, link, seconds, best, modelled } of rows) {
    const free = rows.find((row) => row.r === r && row.link === "free");
    const longer =
      free && link !== "free" ? [best - free.best, modelled.exchange - free.modelled.exchange].map(ms) : ["", ""];
    console.log(`| ${[mb(bytes), link, ms(seconds), ms(best), ...longer].join(" | ")} |`);
  }
}
