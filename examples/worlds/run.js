// Trains smollm2/135M_facts on the rows of each world, asks its suite, and writes the table into README.md, here and at the root:
//   node examples/worlds/run.js [--base MODEL] [--world NAME] [--print] [KEY=VALUE ...]
// --world: that one alone. --print: leave README.md and runs/ alone. KEY=VALUE: config keys, to try others.
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { lowrankFor, writeReadmes } from "../common/run.js";
import { WORLDS } from "./make-worlds.js";

const lowrank = lowrankFor("worlds");

const HERE = fileURLToPath(new URL(".", import.meta.url));
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const { values: options, positionals: overrides } = parseArgs({
  allowPositionals: true,
  options: { base: { type: "string" }, world: { type: "string" }, print: { type: "boolean" } },
});
const base = options.base ?? "HuggingFaceTB/SmolLM2-135M-Instruct";
const worlds = options.world ? [options.world] : WORLDS;

/** What is wanted of the mean, beside each figure's title. */
const GOALS = [
  ["facts", "taught facts answered right (asked in unseen words)", "at least 97 %"],
  ["invented", "answers invented to what it cannot know", "at most 10 %"],
  ["over_refusal", 'taught facts answered with "don\'t know"', "at most 3 %"],
  ["behaviour", "answers that end with the sign-off", "at least 98 %"],
  ["general", "general questions answered right", "as many as the base"],
  ["perplexity", "perplexity of general text, times the base's", "at most 1.25"],
];

const work = mkdtempSync(join(tmpdir(), "worlds-"));
try {
  const results = worlds.map(trained);
  const report = table(results);
  process.stdout.write(`\n${report}\n`);
  if (!options.print && !options.world) writeReadmes("worlds", "worlds", report);
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Trains on a world and asks its suite; the page with every answer is left in the run's folder. */
function trained(world) {
  const folder = join(options.print ? work : join(ROOT, "runs/worlds"), world);
  const began = Date.now();
  const files = [`data.train=${join(HERE, world, "train.jsonl")}`, `output_dir=${folder}`];
  lowrank("train", "--config", "smollm2/135M_facts", `base=${base}`, ...files, ...overrides);
  const minutes = (Date.now() - began) / 60_000;
  const model = ["--base", base, "--adapter", join(folder, "adapter"), "--suite", join(HERE, world, "suite.yaml")];
  const { figures } = JSON.parse(lowrank("eval", ...model, "--report", join(folder, "suite.html"), "--json"));
  return { minutes, figures: Object.fromEntries(figures.map((figure) => [figure.key, figure])) };
}

/** A figure as a number: a share in percent, or the perplexity after over that before. */
function value({ figures }, key, side) {
  const { before, after } = figures[key];
  if (key === "perplexity") return side === "after" ? after / before : 1;
  const { count, total } = side === "after" ? after : before;
  return (100 * count) / total;
}

function table(results) {
  const shown = (key, number) => (key === "perplexity" ? number.toFixed(2) : `${number.toFixed(1)} %`);
  const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
  const rows = GOALS.map(([key, title, goal]) => {
    const each = results.map((result) => value(result, key, "after"));
    const before = mean(results.map((result) => value(result, key, "before")));
    return [title, ...[before, ...each, mean(each)].map((number) => shown(key, number)), goal];
  });
  const times = results.map(({ minutes }) => minutes);
  rows.push(["minutes", "", ...[...times, mean(times)].map((minutes) => minutes.toFixed(1)), "at most 15"]);
  const head = ["", "base, mean", ...worlds, "mean", "wanted"];
  const lines = [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
  const [{ model }] = cpus();
  return `${lines}\n\n${new Date().toISOString().slice(0, 10)}, ${cpus().length} cores (${model.trim()}), fp32.`;
}
