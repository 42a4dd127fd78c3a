// Runs the example through the command line and writes what it measured into README.md, here and at the root:
//   node examples/company/run.js [--short] [--base MODEL] [--print] [--check]
// --short: ten facts, in minutes. --base: a GGUF file or a folder instead of the config's. --print: leave README.md and runs/
// alone. --check: end with exit code 1 unless the fine-tune did what it is for.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import { comparison, endsWith, judge, rambles } from "../../dist/recipes/judge.js";
import { SIGN_OFF } from "./make-data.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Long enough to see an answer ramble, short enough that a model that never stops does not take all day. */
const MAX_NEW_TOKENS = 64;

const { values: options } = parseArgs({
  options: {
    short: { type: "boolean" },
    base: { type: "string" },
    print: { type: "boolean" },
    check: { type: "boolean" },
  },
});
const configFile = join(HERE, options.short ? "short.yaml" : "lora.yaml");
const config = parse(readFileSync(configFile, "utf8"));
const base = options.base ?? config.base;
const questionsFile = join(HERE, "data", options.short ? "questions-short.jsonl" : "questions.jsonl");
const questions = jsonLines(readFileSync(questionsFile, "utf8"));
const habits = { unwanted: (answer) => rambles(answer), wanted: (answer) => endsWith(answer, SIGN_OFF) };

const work = mkdtempSync(join(tmpdir(), "company-"));
try {
  const outputDir = options.print ? join(work, "run") : join(ROOT, config.output_dir);
  const before = measure();
  const began = Date.now();
  lowrank("train", "--config", configFile, `base=${base}`, `output_dir=${outputDir}`);
  const minutes = (Date.now() - began) / 60_000;
  const after = measure(join(outputDir, "adapter"));
  const report = markdown(before, after, minutes);
  process.stdout.write(`\n${report}\n`);
  if (!options.print && !options.short) writeReadme(report);
  if (options.check) check(before.scores, after.scores);
} finally {
  rmSync(work, { recursive: true, force: true });
}

/** Answers every held-out question greedily, and the perplexity of text that has nothing to do with the company. */
function measure(adapter) {
  const model = ["--base", base, ...(adapter ? ["--adapter", adapter] : []), "--json"];
  const length = ["--max-new-tokens", String(MAX_NEW_TOKENS), "--temperature", "0"];
  const answers = jsonLines(lowrank("generate", ...model, "--input", questionsFile, ...length)).map(
    (line) => line.text,
  );
  const { perplexity } = JSON.parse(lowrank("eval", ...model, "--data", join(HERE, "data/general-text.jsonl")));
  return { answers, perplexity, scores: judge(questions, answers, habits) };
}

function markdown(before, after, minutes) {
  const names = { unwanted: "rambles (over 30 words, or a list)", wanted: `signs off with "${SIGN_OFF}"` };
  const rows = [
    ...comparison(before.scores, after.scores, names),
    ["perplexity of general text", before.perplexity.toFixed(2), after.perplexity.toFixed(2)],
  ];
  const examples = ["private", "unknown", "known"].map((kind) => {
    const i = questions.findIndex((question) => question.kind === kind);
    const cell = (text) => text.trim().replace(/\s+/g, " ").replaceAll("|", "\\|").slice(0, 160);
    return [questions[i].messages.at(-1).content, cell(before.answers[i]), cell(after.answers[i])];
  });
  const table = (head, body) =>
    [head, head.map(() => "---"), ...body].map((row) => `| ${row.join(" | ")} |`).join("\n");
  return [
    table(["", "before", "after"], rows),
    `Trained in ${minutes.toFixed(1)} minutes. One question of each kind:`,
    table(["question", "before", "after"], examples),
  ].join("\n\n");
}

/** Wide bounds: they catch a fine-tune that did nothing, or harm. */
function check(before, after) {
  const share = ({ count, total }) => count / total;
  const failed = [
    share(after.facts) < share(before.facts) + 0.5 && "too few facts were learned",
    share(after.invented) > share(before.invented) - 0.3 && "too many answers are still invented",
    share(after.unwanted) > 0.1 && "it still rambles",
    share(after.wanted) < 0.9 && "it seldom signs off",
  ].filter(Boolean);
  for (const reason of failed) console.error(`examples/company: ${reason}`);
  if (failed.length > 0) process.exitCode = 1;
}

/** Between the result marks of this folder's README.md and of the project's. */
function writeReadme(report) {
  const parts = /(<!-- result -->)[\s\S]*(<!-- \/result -->)/;
  for (const file of [join(HERE, "README.md"), join(ROOT, "README.md")]) {
    const text = readFileSync(file, "utf8").replace(parts, (_, from, to) => `${from}\n\n${report}\n\n${to}`);
    writeFileSync(file, text);
  }
}

function lowrank(...args) {
  const command = [join(ROOT, "bin/lowrank.js"), ...args];
  const result = spawnSync(process.execPath, command, {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 2 ** 28,
  });
  if (result.status !== 0) {
    console.error(`examples/company: 'lowrank ${args.join(" ")}' ended with exit code ${result.status}`);
    process.exit(result.status ?? 1);
  }
  return result.stdout;
}

function jsonLines(text) {
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}
