// Runs the example through the command line and writes what it measured into README.md, here and at the root:
//   node examples/company/run.js [--short] [--base MODEL] [--print] [--check]
// --short: ten facts, in minutes. --base: a GGUF file or a folder instead of the model's name. --print: leave README.md and runs/
// alone. --check: end with exit code 1 unless the fine-tune did what it is for.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { suiteMarkdown } from "../../dist/recipes/suite/show.js";
import { lowrankFor, writeReadmes } from "../common/run.js";

const lowrank = lowrankFor("company");

const HERE = fileURLToPath(new URL(".", import.meta.url));
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const { values: options } = parseArgs({
  options: {
    short: { type: "boolean" },
    base: { type: "string" },
    print: { type: "boolean" },
    check: { type: "boolean" },
  },
});
const run = options.short
  ? { config: join(HERE, "short.yaml"), outputDir: "runs/company-short", overrides: [] }
  : {
      config: "smollm2/135M_facts",
      outputDir: "runs/company",
      overrides: [`data.train=${join(HERE, "data/train.jsonl")}`],
    };
const base = options.base ?? "HuggingFaceTB/SmolLM2-135M-Instruct";
const suite = join(HERE, "data", options.short ? "suite-short.yaml" : "suite.yaml");

const work = mkdtempSync(join(tmpdir(), "company-"));
try {
  const outputDir = options.print ? join(work, "run") : join(ROOT, run.outputDir);
  const began = Date.now();
  lowrank("train", "--config", run.config, `base=${base}`, `output_dir=${outputDir}`, ...run.overrides);
  const minutes = (Date.now() - began) / 60_000;
  const measured = measure(outputDir);
  const report = markdown(measured, minutes);
  process.stdout.write(`\n${report}\n`);
  if (!options.print && !options.short) writeReadmes("company", "result", report);
  if (options.check) check(measured.figures);
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Asks the suite with the adapter off and on; the page with every answer is left in the run's folder. */
function measure(outputDir) {
  const model = ["--base", base, "--adapter", join(outputDir, "adapter")];
  return JSON.parse(lowrank("eval", ...model, "--suite", suite, "--report", join(outputDir, "suite.html"), "--json"));
}

function markdown(measured, minutes) {
  const examples = ["facts", "unanswerable", "general"].map((section) => {
    const { question, before, after } = measured.answers.find((one) => one.section === section);
    const cell = ({ text }) => text.trim().replace(/\s+/g, " ").replaceAll("|", "\\|").slice(0, 160);
    return [question, cell(before), cell(after)];
  });
  const table = (head, body) =>
    [head, head.map(() => "---"), ...body].map((row) => `| ${row.join(" | ")} |`).join("\n");
  return [
    suiteMarkdown(measured),
    `Trained in ${minutes.toFixed(1)} minutes. One question of each kind:`,
    table(["question", "before", "after"], examples),
  ].join("\n\n");
}

/** Wide bounds: they catch a fine-tune that did nothing, or harm. */
function check(figures) {
  const [before, after] = ["before", "after"].map((side) => (key) => {
    const { count, total } = figures.find((figure) => figure.key === key)[side];
    return count / total;
  });
  const failed = [
    after("facts") < before("facts") + 0.5 && "too few facts were learned",
    after("over_refusal") > 0.3 && "it does not answer what it was taught",
    after("invented") > before("invented") - 0.3 && "too many answers are still invented",
    after("behaviour") < 0.85 && "it seldom behaves as it was shown",
  ].filter(Boolean);
  for (const reason of failed) console.error(`examples/company: ${reason}`);
  if (failed.length > 0) process.exitCode = 1;
}
