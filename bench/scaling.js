// The model behind `lowrank plan --ranks` held against runs: `node bench/scaling.js`, on Linux with Open MPI. Each rank has one thread and is pinned to
// a core. Printed are what the model's constants (src/recipes/scaling.ts) come to here: how much the times of equal steps vary, and what a message and a
// byte of a sum between two ranks cost, by least squares, through shared memory and, as root, through TCP between two network namespaces; then the steps
// of 1, 2 and 4 ranks beside what `lowrank plan` says; then the model for 1 to 1,024 ranks.
// Options: --base models/tiny, --data FILE, --rows 8 (a micro-batch; two make a step), --steps 30, --equal 100 (steps of equal rows),
// --ranks 1,2,4, --check (the steps alone),
// --tokens-per-second 469 (of one rank, for the last table).
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { plan } from "../dist/node/index.js";
import { modelStep } from "../dist/training/scaling.js";
import { median } from "./common.js";
import { twoHosts } from "./ranks/hosts.js";
import { asRanks } from "./ranks/launch.js";

const TINY = fileURLToPath(new URL("../models/tiny", import.meta.url));
const { values: asked } = parseArgs({
  options: {
    base: { type: "string", default: TINY },
    data: { type: "string", default: join(TINY, "data/train.jsonl") },
    rows: { type: "string", default: "8" },
    steps: { type: "string", default: "30" },
    ranks: { type: "string", default: "1,2,4" },
    equal: { type: "string", default: "100" },
    check: { type: "boolean", default: false },
    "tokens-per-second": { type: "string", default: "469" },
  },
});
const folder = mkdtempSync(join(tmpdir(), "lowrank-scaling-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));

const CORES = availableParallelism();
const PINNED = `exec taskset -c $((\${OMPI_COMM_WORLD_RANK:-0} % ${CORES})) "$@"`;
const pinned = (command) => ["sh", "-c", PINNED, "sh", ...command];
const launched = (ranks) => (command) => [
  "mpirun", "-n", String(ranks), "--oversubscribe", "--allow-run-as-root", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", ...pinned(command),
]; // biome-ignore format: a command line
const SKIP = 3;
const runOf = (name, data, maxSteps = Number(asked.steps) + SKIP) => ({
  base: asked.base,
  outputDir: join(folder, name),
  data: { train: data, maxSeqLen: 128 },
  lora: { targetModules: "all-linear" },
  batchSize: Number(asked.rows),
  gradientAccumulationSteps: 2,
  maxSteps,
  threads: 1,
});
const ms = (seconds) => `${(1000 * seconds).toFixed(seconds < 0.01 ? 3 : 1)} ms`;
const percent = (share) => `${(100 * share).toFixed(1)}%`;

/** Messages, one after the other, of a sum of two ranks, as the model counts them (src/training/scaling.ts). */
const messagesOf = (bytes) => (bytes <= 2 ** 15 ? 1 : bytes / 2 <= 2 ** 16 ? 2 : 6);

console.log(`${CORES} cores, load ${loadavg()[0].toFixed(1)}`);
if (!asked.check) {
  await printJitter();
  await printFit("shared memory", launched(2));
  await printFitOfTcp();
}
const latency = await printSteps();
if (!asked.check) printDrawn();

/** Steps of rows that are all the same: only the machine makes their times differ. */
async function printJitter() {
  const row = readFileSync(asked.data, "utf8")
    .split("\n")
    .reduce((longest, one) => (one.length > longest.length ? one : longest));
  const data = join(folder, "equal.jsonl");
  writeFileSync(data, `${row}\n`.repeat(64));
  const { runs } = await asRanks(
    { runs: [{ options: runOf("equal", data, Number(asked.equal) + SKIP), skip: SKIP }] },
    pinned,
  );
  for (const [what, times] of Object.entries({
    "equal steps": runs[0].seconds,
    "the processor's time for them": runs[0].cpuSeconds,
  }))
    console.log(`${what}: median ${ms(median(times))}, standard deviation ${percent(deviation(times))} of the mean`);
}

function deviation(times) {
  const mean = times.reduce((sum, one) => sum + one, 0) / times.length;
  return Math.sqrt(times.reduce((sum, one) => sum + (one - mean) ** 2, 0) / times.length) / mean;
}

/**
 * Fits seconds = messages x latency + bytes x seconds a byte to sums between two ranks, the fastest of each size: what others take of the machine
 * only makes them longer.
 */
async function printFit(name, launch, env) {
  const sums = [2, 64, 1024, 8192, 12288, 16384, 65536, 262144, 1048576, 4194304].map((floats) => ({
    floats,
    times: floats > 1e6 ? 40 : 200,
  }));
  const found = (await asRanks({ sums }, launch, env)).sums.map(({ bytes, seconds }) => ({
    bytes,
    seconds: median(seconds),
  }));
  const { latency, secondsPerByte, modelled } = fitted(found);
  console.log(`${name}: ${ms(latency)} a message, ${(1e9 * secondsPerByte).toFixed(2)} ns a byte`);
  console.log("| bytes | measured | fitted |\n| --- | --- | --- |");
  for (const one of found) console.log(`| ${one.bytes} | ${ms(one.seconds)} | ${ms(modelled(one.bytes))} |`);
}

/** Least squares of the relative errors, so that short sums count as much as long ones. */
function fitted(points) {
  const [aa, ab, bb, a, b] = points.reduce(
    (sums, { bytes, seconds }) => {
      const [x, y] = [messagesOf(bytes) / seconds, bytes / seconds];
      return [x * x, x * y, y * y, x, y].map((value, i) => sums[i] + value);
    },
    [0, 0, 0, 0, 0],
  );
  const [latency, secondsPerByte] = [(a * bb - b * ab) / (aa * bb - ab * ab), (b * aa - a * ab) / (aa * bb - ab * ab)];
  return { latency, secondsPerByte, modelled: (bytes) => messagesOf(bytes) * latency + bytes * secondsPerByte };
}

async function printFitOfTcp() {
  let hosts;
  try {
    hosts = await twoHosts({});
  } catch (error) {
    return console.log(`TCP: not measured, no network namespaces can be made here: ${error.message}`);
  }
  try {
    await printFit("TCP between namespaces", (command) => hosts.launch(pinned(command)), hosts.env);
  } finally {
    hosts.remove();
  }
}

async function printSteps() {
  console.log(
    "| ranks | a step | its fastest | modelled | compute | ragged | stragglers | exchange |\n|---|---|---|---|---|---|---|---|",
  );
  let known;
  for (const ranks of asked.ranks.split(",").map(Number)) {
    const options = runOf(`ranks-${ranks}`, asked.data);
    const { runs } = await asRanks({ runs: [{ options, skip: SKIP }] }, ranks === 1 ? pinned : launched(ranks));
    const { scaling } = await plan(options, { ranks, network: { bitsPerSecond: 1e15 } });
    const shared = Math.max(1, ranks / CORES); // ranks that take turns on a core
    const { compute, ragged, stragglers, exchange } = scaling.asked;
    const parts = [shared * compute, shared * ragged, shared * stragglers, exchange];
    const modelled = parts.reduce((a, b) => a + b, 0);
    const note = shared > 1 ? ` (${shared} a core)` : "";
    const measured = [median(runs[0].seconds), Math.min(...runs[0].seconds)];
    console.log(`| ${ranks}${note} | ${[...measured, modelled, ...parts].map(ms).join(" | ")} |`);
    known = scaling.network.latency;
  }
  return known;
}

/** SmolLM2-135M with r 8 on q and v, by the rows of bench/workloads/instruct.json: a step of 64 rows, and of 1,024. */
function printDrawn() {
  const { rows } = JSON.parse(readFileSync(new URL("workloads/instruct.json", import.meta.url), "utf8"));
  const tokens = rows.map(([prompt, completion]) => prompt + completion);
  for (const times of [1, 16]) {
    const costs = {
      steps: [Array.from({ length: times }, () => tokens).flat()],
      secondsPerToken: 1 / Number(asked["tokens-per-second"]),
      gradientBytes: 1.84e6,
      secondsPerStep: 0,
      stages: 1,
      largestShare: 1,
      streamBytes: 0,
      batchSize: 4,
    };
    console.log(`a step of ${tokens.length * times} rows at 1, 10, 100 Gb/s`);
    for (const ranks of [1, 8, 32, 128, 512, 1024]) {
      const steps = [1e9, 1e10, 1e11].map((bitsPerSecond) => modelStep(costs, ranks, { bitsPerSecond, latency }));
      const [seconds, shares] = [
        steps.map((one) => one.seconds.toPrecision(3)),
        steps.map((one) => percent(one.efficiency)),
      ];
      console.log(`| ${ranks} | ${seconds.join(", ")} s | ${shares.join(", ")} |`);
    }
  }
}
