// `npm run bench`: trains the same rows with lowrank and with its baselines, in turns and in fresh processes, and prints
// medians and ratios. Options: --workload dense-512|instruct|FILE --rounds 3 --threads 2 --steps 0 --peft --dtype float32
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ensurePython, runPython } from "./python.js";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);

/** What a side must reach against lowrank: lowrank's rate at least, and its memory at most, this times the other's. */
const TARGETS = {
  prototype: { tokens_per_second: 0.95, peak_rss: 1.0 },
};

/** Runs the comparison; returns false when a target was missed. */
export function bench(args) {
  const options = readOptions(args);
  const sides = makeSides(options);
  const results = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  for (let round = 1; round <= options.rounds; round++) {
    for (const [name, run] of Object.entries(sides)) {
      const result = run();
      results[name].push(result);
      console.error(
        `bench: round ${round}, ${name}: ${result.tokens_per_second} tokens/s, ${gigabytes(result.peak_rss)}`,
      );
    }
  }
  const report = summarise(options, results);
  const table = markdown(report);
  mkdirSync(join(here, "results"), { recursive: true });
  writeFileSync(join(here, "results", `${report.workload}.json`), `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(join(here, "results", `${report.workload}.md`), table);
  console.log(table);
  return report.missed.length === 0;
}

function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      workload: { type: "string", default: "dense-512" },
      rounds: { type: "string", default: "3" },
      threads: { type: "string", default: "2" },
      steps: { type: "string", default: "0" },
      dtype: { type: "string", default: "float32" },
      checkpointing: { type: "boolean", default: false },
      peft: { type: "boolean", default: false },
    },
  });
  const known = ["dense-512", "instruct"].includes(values.workload);
  const file = known ? join(here, "workloads", `${values.workload}.json`) : values.workload;
  return { ...values, file, workload: basename(file, ".json"), rounds: Number(values.rounds) };
}

/** The sides that this machine can run, each a function to one result; what is skipped is said with its reason. */
function makeSides({ file, workload, threads, steps, dtype, checkpointing, peft }) {
  const common = ["--workload", file, "--dtype", dtype, "--threads", threads, "--steps", steps];
  if (checkpointing) common.push("--checkpointing");
  const sides = { lowrank: () => runLowrank([...common, "--json"]) };
  const add = (name, side, run) => {
    const { python, reason } = ensurePython(side);
    if (python) sides[name] = () => run(python);
    else console.error(`bench: ${name} is skipped: ${reason}`);
  };
  if (workload === "dense-512" && dtype === "float32" && !checkpointing) {
    add("prototype", "prototype", (python) => runPython(python, "prototype/train_graph.py", ["--threads", threads]));
  } else {
    console.error("bench: prototype is skipped: it runs dense-512 in float32 only");
  }
  if (peft) add("peft", "peft", (python) => runPython(python, "peft_bench.py", common));
  else console.error("bench: PyTorch + PEFT is skipped: add --peft (it installs several GB)");
  return sides;
}

function runLowrank(args) {
  const command = [join(root, "bin", "lowrank.js"), "bench", ...args];
  const done = spawnSync(process.execPath, command, { encoding: "utf8", maxBuffer: 1 << 26 });
  if (done.status !== 0) throw new Error(`lowrank bench failed:\n${done.stderr}`);
  return JSON.parse(done.stdout.trim().split("\n").at(-1));
}

const METRICS = ["tokens_per_second", "peak_rss", "seconds_to_first_step", "first_loss", "last_loss"];

function summarise(options, results) {
  const medians = Object.fromEntries(
    Object.entries(results).map(([name, runs]) => [
      name,
      Object.fromEntries(
        METRICS.filter((m) => runs[0][m] !== undefined).map((m) => [m, median(runs.map((r) => r[m]))]),
      ),
    ]),
  );
  const ratios = {};
  const missed = [];
  for (const [name, theirs] of Object.entries(medians)) {
    if (name === "lowrank") continue;
    const ratio = (metric) => medians.lowrank[metric] / theirs[metric];
    ratios[name] = { tokens_per_second: ratio("tokens_per_second"), peak_rss: ratio("peak_rss") };
    const target = TARGETS[name];
    if (target && ratios[name].tokens_per_second < target.tokens_per_second) missed.push(`${name}: tokens/s`);
    if (target && ratios[name].peak_rss > target.peak_rss) missed.push(`${name}: peak memory`);
  }
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const ort = JSON.parse(readFileSync(join(root, "node_modules", "onnxruntime-node", "package.json"), "utf8")).version;
  return {
    workload: options.workload,
    dtype: options.dtype,
    threads: Number(options.threads),
    checkpointing: options.checkpointing,
    rounds: options.rounds,
    date: new Date().toISOString(),
    machine: { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, memory: totalmem(), load: loadavg()[0] },
    versions: { lowrank: version, node: process.version, "onnxruntime-node": ort },
    medians,
    ratios,
    missed,
    runs: results,
  };
}

function markdown({ workload, dtype, threads, rounds, date, machine, versions, medians, ratios, missed }) {
  const rows = Object.entries(medians).map(([name, m]) => {
    const r = ratios[name];
    const against = r ? `${r.tokens_per_second.toFixed(2)} x tokens/s, ${r.peak_rss.toFixed(2)} x memory` : "";
    const first = m.seconds_to_first_step === undefined ? "" : `${m.seconds_to_first_step} s`;
    return `| ${name} | ${m.tokens_per_second.toFixed(1)} | ${gigabytes(m.peak_rss)} | ${first} | ${against} |`;
  });
  const used = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `Workload ${workload}, ${dtype}, ${threads} threads, SmolLM2-135M's shape, r = 8 on q, v; medians of ${rounds} rounds in turns.`,
    `${date.slice(0, 10)}, ${machine.cpu}, ${machine.cores} cores; ${used.join(", ")}.`,
    "",
    "| | tokens/s | peak memory | first step after | lowrank against it |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
    ...(missed.length ? [`Missed: ${missed.join("; ")}`, ""] : []),
  ].join("\n");
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function gigabytes(bytes) {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
