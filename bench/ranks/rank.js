// One rank of bench/network.js and bench/scaling.js: does what its one argument, JSON, asks for; the first prints what came out, in JSON.
//   sums: [{ floats, times }]         sums over all ranks, each after a barrier
//   runs: [{ options, skip }]         training runs; seconds between steps, and those of the processor, without the first `skip`
import { readFileSync } from "node:fs";
import { loraFinetune, openMpi } from "../../dist/node/index.js";

const { sums = [], runs = [] } = JSON.parse(process.argv[2]);
const world = await openMpi();
const found = { rank: world?.rank ?? 0, size: world?.size ?? 1, sums: [], runs: [] };
for (const one of sums) found.sums.push(await timedSums(one));
for (const one of runs) found.runs.push(await timedRun(one));
if (found.rank === 0) process.stdout.write(`${JSON.stringify(found)}\n`);
await world?.close();

/** Seconds of each sum, and what this rank's network devices sent and received meanwhile. */
async function timedSums({ floats, times }) {
  const vector = new Float32Array(floats);
  await world.sum(vector);
  const [before, seconds] = [traffic(), []];
  for (let i = 0; i < times; i++) {
    await world.barrier();
    const began = performance.now();
    await world.sum(vector);
    seconds.push((performance.now() - began) / 1000);
  }
  const after = traffic();
  return { bytes: 4 * floats, seconds, sent: after.sent - before.sent, received: after.received - before.received };
}

async function timedRun({ options, skip }) {
  const [at, used] = [[], []];
  let tokens = 0;
  const run = loraFinetune({ ...options, evalEvery: 0, saveEvery: 0 }, world ? { communicator: world } : {});
  for await (const event of run) {
    if (event.type !== "step") continue;
    at.push(performance.now());
    const { user, system } = process.cpuUsage();
    used.push(user + system);
    if (at.length > skip) tokens += event.metrics.tokens;
  }
  const between = (marks, unit) => marks.slice(skip).map((end, i) => (end - marks[skip + i - 1]) / unit);
  return { seconds: between(at, 1e3), cpuSeconds: between(used, 1e6), tokens: tokens / (at.length - skip) };
}

/** Bytes through the devices of this network namespace, but for those within the machine. */
function traffic() {
  const rows = readFileSync("/proc/self/net/dev", "utf8")
    .split("\n")
    .slice(2)
    .filter((row) => row.includes(":"));
  const counts = rows.map((row) => row.trim().split(/[:\s]+/)).filter(([name]) => name !== "lo");
  const total = (column) => counts.reduce((sum, row) => sum + Number(row[column]), 0);
  return { received: total(1), sent: total(9) };
}
