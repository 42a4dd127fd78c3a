// `npm run bench`: trains the same rows with lowrank, PyTorch + PEFT and the one-graph baseline, in turns and in fresh
// processes, and prints medians, ratios and what was missed. See README.md beside it.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, tmpdir, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CASES, LENGTHS, METRICS } from "./cases.js";
import { median } from "./common.js";
import { comparisonTable, generationMissed, generationTable, lengthCharts, lengthTable } from "./report.js";
import { runGeneration, sidesOf } from "./sides.js";

const here = dirname(fileURLToPath(import.meta.url));

/** Runs the comparison; returns false when a target was missed. */
export function bench(argv) {
  const options = readOptions(argv);
  const sides = sidesOf(options);
  const context = { ...machine(), threads: options.threads, rounds: options.rounds };
  const results = CASES.filter(({ name }) => name.includes(options.only)).map((c) => compare(c, sides, options));
  const lengths = options.lengths ? overLengths(sides, options) : [];
  const generation = options.generation ? attemptGeneration(options) : undefined;
  const table = comparisonTable(results, context);
  const rest = `${lengthTable(lengths)}\n${generationTable(generation)}`;
  const folder = join(here, "latest");
  mkdirSync(folder, { recursive: true });
  const report = { ...context, results, lengths, generation };
  writeFileSync(join(folder, "bench.json"), `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(join(folder, "bench.md"), `${table}\n${rest}`);
  for (const [name, svg] of Object.entries(lengthCharts(lengths))) writeFileSync(join(folder, `${name}.svg`), svg);
  console.log(`${table}\n${rest}`);
  return results.every(({ missed }) => missed.length === 0) && generationMissed(generation).length === 0;
}

function attemptGeneration(options) {
  try {
    return runGeneration(options);
  } catch (error) {
    console.error(`bench: generation: failed: ${error.message.split("\n").at(-1)}`);
    return undefined;
  }
}

function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", default: "" },
      rounds: { type: "string", default: "3" },
      threads: { type: "string", default: "2" },
      steps: { type: "string", default: "0" },
      python: { type: "string" },
      "no-peft": { type: "boolean", default: false },
      "no-compiled": { type: "boolean", default: false },
      "no-lengths": { type: "boolean", default: false },
      "no-generation": { type: "boolean", default: false },
      model: { type: "string" },
    },
  });
  const { only, python, model } = values;
  const flags = ["no-compiled", "no-lengths", "no-generation"];
  const [compiled, lengths, generation] = flags.map((flag) => !values[flag]);
  const [rounds, threads, steps] = [values.rounds, values.threads, values.steps].map(Number);
  return { only, python, compiled, rounds, threads, steps, peft: !values["no-peft"], lengths, generation, model };
}

function machine() {
  const { version } = JSON.parse(readFileSync(join(here, "..", "package.json"), "utf8"));
  const [cpu] = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: { cpu: cpu?.model ?? "unknown", cores: cpus().length, memory: totalmem(), load: loadavg()[0] },
    versions: { lowrank: version, node: process.version },
  };
}

/** One case: every side that can run, in turns. A side that fails is named with its error and left out. */
function compare({ name, args, against }, sides, { rounds, threads, steps }) {
  const names = ["lowrank", ...Object.keys(against)];
  const running = new Map(names.flatMap((side) => (sides(side) ? [[side, sides(side)]] : [])));
  const runs = Object.fromEntries([...running.keys()].map((side) => [side, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const [side, run] of running) {
      const result = attempt(`${name}, ${side}`, () => run({ ...args, threads, steps }));
      if (result) runs[side].push(result);
      else running.delete(side);
    }
  }
  const medians = Object.fromEntries(
    Object.entries(runs).flatMap(([side, all]) => (all.length ? [[side, mediansOf(side, all)]] : [])),
  );
  const ratios = ratiosOf(medians, against);
  return { name, runs, medians, ratios, missed: medians.lowrank ? missedOf(ratios, against) : ["lowrank: failed"] };
}

function attempt(label, run) {
  try {
    const result = run();
    const memory = (result.peak_rss / 1e9).toFixed(2);
    console.error(`bench: ${label}: ${result.tokens_per_second} tokens/s, ${memory} GB`);
    return result;
  } catch (error) {
    console.error(`bench: ${label}: failed: ${error.message.split("\n").at(-1)}`);
    return undefined;
  }
}

/** The baseline reports its fastest run as its rate. */
function mediansOf(side, runs) {
  const whole = runs.map((r) => (side === "prototype" ? { ...r, tokens_per_second_best: r.tokens_per_second } : r));
  const metrics = Object.keys(METRICS).filter((metric) => whole[0][metric] !== undefined);
  return Object.fromEntries(metrics.map((metric) => [metric, median(whole.map((r) => r[metric]))]));
}

function ratiosOf(medians, against) {
  const shares = (side, { least, most }) =>
    [...Object.keys(least), ...Object.keys(most)]
      .filter((metric) => medians[side][metric] !== undefined)
      .map((metric) => [metric, medians.lowrank[metric] / medians[side][metric]]);
  const there = Object.entries(against).filter(([side]) => medians.lowrank && medians[side]);
  return Object.fromEntries(there.map(([side, bounds]) => [side, Object.fromEntries(shares(side, bounds))]));
}

function missedOf(ratios, against) {
  return Object.entries(ratios).flatMap(([side, shares]) =>
    Object.entries(shares).flatMap(([metric, share]) => {
      const [least, most] = [against[side].least[metric], against[side].most[metric]];
      const missed = share < least || share > most;
      return missed ? [`${METRICS[metric]} against ${side}: ${share.toFixed(2)}, target ${least ?? most}`] : [];
    }),
  );
}

/** Steps of one row of each length, fp32: what the two plots show. */
function overLengths(sides, { threads }) {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-bench-"));
  try {
    return LENGTHS.map((length) => {
      const workload = join(folder, `${length}.json`);
      writeFileSync(
        workload,
        JSON.stringify({ name: `one row of ${length}`, seed: 1, batch_size: 1, rows: [[0, length]] }),
      );
      const point = { length };
      for (const [side, args] of LENGTH_SIDES) {
        const run = sides(side);
        const label = args.checkpointing ? `${side}, checkpointing` : side;
        const result =
          run && attempt(`${length} tokens, ${label}`, () => run({ ...args, workload, threads, steps: 2 }));
        if (result) point[label] = result;
      }
      return point;
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const LENGTH_SIDES = [
  ["lowrank", { dtype: "float32" }],
  ["lowrank", { dtype: "float32", checkpointing: true }],
  ["PEFT", { dtype: "float32" }],
];
