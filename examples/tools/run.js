// Tunes SmolLM2-135M-Instruct on calls of three small tools, serves base and result, and asks both what they were not taught:
//   node examples/tools/run.js [--base MODEL] [--print] [--check]
// --base: a GGUF file or a folder instead of the hub's. --print: leave README.md alone. --check: end with exit code 1 unless most
// calls are right.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { lowrankFor } from "../common/run.js";
import { makeQuestions, makeRows, TOOLS } from "./rows.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const { values: options } = parseArgs({
  options: { base: { type: "string" }, print: { type: "boolean" }, check: { type: "boolean" } },
});
const base = options.base ?? "HuggingFaceTB/SmolLM2-135M-Instruct";
const work = mkdtempSync(join(tmpdir(), "tools-"));
let server;
try {
  const rows = join(work, "rows.jsonl");
  writeFileSync(
    rows,
    makeRows()
      .map((row) => `${JSON.stringify(row)}\n`)
      .join(""),
  );
  const settings = [
    "epochs=1",
    "batch_size=4",
    "optimizer.lr=1e-3",
    "data.max_seq_len=512",
    "save_every=0",
    "lora.target_modules=all-linear",
  ];
  const began = Date.now();
  lowrankFor("tools")("train", "--base", base, "--data", rows, "--output", join(work, "run"), ...settings);
  const minutes = (Date.now() - began) / 60_000;
  const url = await serve(join(work, "run"));
  const results = [];
  for (const model of ["base", "tuned"]) results.push(await measure(url, model));
  const report = markdown(results, minutes);
  console.log(report);
  if (!options.print) writeReadme(report);
  if (options.check && results[1].right <= 0.5 * results[1].calls) {
    console.error("examples/tools: too few calls are right");
    process.exitCode = 1;
  }
} finally {
  server?.kill();
  rmSync(work, { recursive: true, force: true });
}

/** The address of a server with the base and what was tuned, once it listens. */
function serve(run) {
  const argv = ["serve", "--base", base, "--base-id", "base", "--adapter", `tuned=${run}`, "--port", "0", "--quiet"];
  server = spawn(process.execPath, [join(ROOT, "bin/lowrank.js"), ...argv], { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    let said = "";
    server.stdout.on("data", (text) => {
      said += text;
      const [, url] = /listening on (\S+),/.exec(said) ?? [];
      if (url) resolve(url);
    });
    server.on("exit", () => reject(new Error("the server ended before it listened")));
  });
}

/** What a model does with every question, its likeliest answer, free to call or not. */
async function measure(url, model) {
  const found = { model, calls: 0, named: 0, right: 0, words: 0, inWords: 0 };
  for (const { question, name, arguments: wanted } of makeQuestions()) {
    const body = {
      model,
      messages: [{ role: "user", content: question }],
      tools: TOOLS,
      temperature: 0,
      max_tokens: 40,
    };
    const response = await fetch(`${url}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const { choices, error } = await response.json();
    if (error) throw new Error(error.message);
    const calls = choices[0].message.tool_calls ?? [];
    const called = calls.length === 1 ? calls[0].function : undefined;
    if (name === null) {
      found.words++;
      found.inWords += calls.length === 0;
      continue;
    }
    found.calls++;
    found.named += called?.name === name;
    found.right += called?.name === name && isDeepStrictEqual(JSON.parse(called.arguments), wanted);
  }
  return found;
}

function markdown([before, after], minutes) {
  const row = (what, part, whole) =>
    `| ${what} | ${before[part]} of ${before[whole]} | ${after[part]} of ${after[whole]} |`;
  return [
    "| unseen questions | before | after |",
    "| --- | --- | --- |",
    row("that ask for a tool: the right one is called", "named", "calls"),
    row("with the right arguments", "right", "calls"),
    row("that ask for none: answered in words", "inWords", "words"),
    "",
    `Trained in ${minutes.toFixed(1)} minutes on ${makeRows().length} rows, one epoch.`,
  ].join("\n");
}

function writeReadme(report) {
  const file = new URL("README.md", import.meta.url);
  const parts = /(<!-- result -->)[\s\S]*(<!-- \/result -->)/;
  writeFileSync(
    file,
    readFileSync(file, "utf8").replace(parts, (_, from, to) => `${from}\n\n${report}\n\n${to}`),
  );
}
