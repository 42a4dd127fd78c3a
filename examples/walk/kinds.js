// Every objective, kind of adapter, start and optimiser through the command line: trained, killed with kill -9 in the middle and
// resumed to the same bytes, generated from, served and exported. Prints a table, and ends with 1 where something does not hold.
//   node examples/walk/kinds.js --base MODEL [--only EXPRESSION] [--targets peft,gguf,onnx] [--threads 2] [--set KEY=VALUE] [--keep FOLDER] [--list]
// With --keep what was made stays in FOLDER, and a walk that was broken off goes on there: rows that have held are not tried again.
import { strict as assert } from "node:assert";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { main } from "../../dist/cli/main.js";
import { listening } from "../common/listening.js";
import { QUESTION, rowsOf, table } from "./kinds-table.js";

const BIN = fileURLToPath(new URL("../../bin/lowrank.js", import.meta.url));
const STEPS = 6;
const TOKENS = "6";

const { values: options } = parseArgs({
  options: {
    base: { type: "string" },
    only: { type: "string", default: "" },
    targets: { type: "string", default: "peft,gguf,onnx" },
    threads: { type: "string", default: "1" },
    keep: { type: "string" },
    set: { type: "string", multiple: true, default: [] },
    list: { type: "boolean", default: false },
  },
});
const { base, targets, threads } = options;
assert.ok(base, "give --base: a folder of a model, or a GGUF file");
const asked = table(base).filter(({ name }) => new RegExp(options.only).test(name));
assert.ok(asked.length > 0, `--only ${options.only}: no row has such a name`);
if (options.list) console.log(asked.map(({ name }) => name).join("\n"));
else process.exitCode = await walk();

async function walk() {
  const work = options.keep ?? mkdtempSync(join(tmpdir(), "lowrank-kinds-"));
  mkdirSync(work, { recursive: true });
  const at = (...names) => join(work, ...names);
  writeFileSync(at("question.json"), JSON.stringify(QUESTION));
  try {
    const found = [];
    for (const row of asked) found.push(await timedOnce(row, at));
    await askServers(found.filter(({ error }) => !error));
    print(found);
    return found.some(({ error }) => error) ? 1 : 0;
  } finally {
    if (!options.keep) rmSync(work, { recursive: true, force: true });
  }
}

/** What came of a row, now or in a walk before in the same folder, on the same base with the same settings. */
async function timedOnce(row, at) {
  const own = (...names) => at(row.name.replaceAll(/\W+/g, "-"), ...names);
  const asked = JSON.stringify({ row, base, targets, set: options.set });
  const before = existsSync(own("held.json")) && JSON.parse(readFileSync(own("held.json"), "utf8"));
  if (before && before.asked === asked) return { ...row, ...before.found };
  rmSync(own(), { recursive: true, force: true });
  const found = await timed(row, own, at("question.json"));
  if (!found.error) writeFileSync(own("held.json"), JSON.stringify({ asked, found }));
  return { ...row, ...found };
}

/** What comes of a row, with the seconds that it takes. */
async function timed(row, own, question) {
  const began = performance.now();
  const found = await tried(row, own, question).catch((error) => ({ error }));
  const seconds = Math.round((performance.now() - began) / 1000);
  console.error(`${row.name}: ${found.error?.message ?? "held"}, ${seconds} s`);
  return { ...found, seconds };
}

function print(found) {
  console.log(
    "| trained | killed, resumed to the same bytes | last loss | generates, served the same | exported | s |",
  );
  console.log("| --- | --- | --- | --- | --- | --- |");
  const inCell = (text) =>
    text
      .trim()
      .replaceAll(/\s*\n\s*/g, " / ")
      .replaceAll("|", "\\|");
  for (const { name, error, killed, loss, exported, seconds } of found) {
    const cells = error
      ? [`**failed**: ${inCell(error.message)}`]
      : [`in step ${killed}`, loss, "yes", inCell(exported)];
    console.log(`| ${[name, ...cells, seconds].join(" | ")} |`);
  }
  const failed = found.filter(({ error }) => error).length;
  console.log(failed ? `${failed} of ${found.length} failed` : `all ${found.length} held`);
}

/** Trains, kills, resumes, generates and exports. Throws where something does not hold. */
async function tried(row, own, question) {
  mkdirSync(own(), { recursive: true });
  const data = own("rows.jsonl");
  writeFileSync(data, rowsOf(row.rows));
  const from = row.from && (await trainedBefore(row.from, own));
  const args = (output) => trainArgs({ ...row, from }, data, output);
  await lowrank(args(own("whole")));
  const killed = await kill(args(own("parts")), own("parts"));
  const resumed = await lowrank([...args(own("parts")), "--resume"]);
  assert.match(resumed.said, /resuming after step 3/, "the resumed run says after which step");
  const made = row.whole ? "model" : "adapter";
  sameFiles(own("parts", made), own("whole", made));
  const losses = metrics(own("whole"));
  assert.deepEqual(metrics(own("parts")), losses, "not the metrics of the run that was not killed");
  assert.ok(losses.length === STEPS && losses.every(({ loss }) => Number.isFinite(loss)), "a loss for every step");
  assert.ok(
    losses.some(({ grad_norm: norm }) => norm > 0),
    "some step has a gradient",
  );
  assert.ok(
    !from || Math.abs(losses[0].loss - Math.log(2)) > 1e-4,
    "the reference is the adapter that it goes on from",
  );
  const speaks = row.whole ? ["--base", own("whole", made)] : ["--base", base, "--adapter", own("whole")];
  const text = await generated(speaks, question);
  const exported = [];
  for (const to of targets.split(",").filter(Boolean)) exported.push(await exportedTo(to, row, speaks, own));
  const loss = losses.at(-1).loss.toPrecision(4);
  return { folder: own("whole", made), killed, loss, text, exported: exported.join("; ") };
}

/** An adapter of answers to go on from. */
async function trainedBefore(settings, own) {
  writeFileSync(own("answers.jsonl"), rowsOf("texts"));
  await lowrank(trainArgs({ settings }, own("answers.jsonl"), own("before")));
  return own("before");
}

function trainArgs({ settings, from }, data, output) {
  const run = [`max_steps=${STEPS}`, "save_every=3", "batch_size=2", "data.max_seq_len=96", `threads=${threads}`];
  const shape = from ? [`adapter=${from}`] : ["lora.r=4", "lora.target_modules=all-linear"];
  const adapter = settings.includes("full_finetune=true") ? [] : [...shape, "optimizer.lr=2e-3"];
  return ["train", "--base", base, "--data", data, "--output", output, ...run, ...adapter, ...settings, ...options.set];
}

/** Runs the command line to its end; `fails`: it may end with an error that a user can mend, and nothing else. */
async function lowrank(args, { fails = false } = {}) {
  let [out, said] = ["", ""];
  const status = await main(args, {
    out: (text) => ([out, said] = [out + text, said + text]),
    err: (text) => (said += text),
    interactive: false,
    columns: 80,
  });
  assert.ok(status === 0 || (fails && status === 1), `lowrank ${args.join(" ")}: ${said.slice(-600)}`);
  return { status, out, said };
}

/** Begins a run and kills it with kill -9 when its first checkpoint is there; returns the step that it was in. */
async function kill(args, folder) {
  for (let tries = 0; tries < 5; tries++) {
    rmSync(folder, { recursive: true, force: true });
    const child = spawn(process.execPath, [BIN, ...args, "--json"], { stdio: ["ignore", "pipe", "pipe"] });
    const closed = new Promise((resolve) => child.once("close", resolve));
    let [text, error, steps] = ["", "", 0];
    child.stderr.on("data", (chunk) => (error += chunk));
    child.stdout.on("data", (chunk) => {
      text += chunk;
      if (!text.includes('"type":"checkpoint"') || child.killed) return;
      child.kill("SIGKILL");
      steps = text.split('"type":"step"').length - 1;
    });
    await closed;
    assert.ok(child.killed, `the run ended before its first checkpoint: ${(text + error).slice(-600)}`);
    const saved = existsSync(join(folder, "checkpoints")) ? readdirSync(join(folder, "checkpoints")) : [];
    if (!saved.includes(`step-${STEPS}`) && saved.includes("step-3")) return steps + 1;
  }
  throw new Error("the run was over each time before it could be killed");
}

/** Throws where two folders have other weights or another configuration. */
function sameFiles(folder, expected) {
  const names = readdirSync(expected).filter((name) => /\.(safetensors|json)$/.test(name));
  assert.ok(names.length > 1, `${expected}: weights and a configuration`);
  for (const name of names) {
    const same = readFileSync(join(folder, name)).equals(readFileSync(join(expected, name)));
    assert.ok(same, `${name}: not the bytes of the run that was not killed`);
  }
}

/** The metrics of every step, without what a clock or the system measured. */
function metrics(folder) {
  const lines = readFileSync(join(folder, "metrics.jsonl"), "utf8").trim().split("\n");
  const clocks = new Set(["tokens_per_second", "peak_memory_bytes", "elapsed_seconds"]);
  return lines.map((line) => Object.fromEntries(Object.entries(JSON.parse(line)).filter(([key]) => !clocks.has(key))));
}

async function generated(speaks, messages) {
  const args = [
    "generate",
    ...speaks,
    "--messages",
    messages,
    "--max-new-tokens",
    TOKENS,
    "--threads",
    threads,
    "--json",
  ];
  const { text, token_ids: ids } = JSON.parse((await lowrank(args)).out);
  assert.ok(ids.length > 0, "no token was generated");
  return text;
}

/** One server for all adapters, and one for each whole model; each answer must be what `lowrank generate` said. */
async function askServers(found) {
  const adapters = found.filter(({ whole }) => !whole);
  const named = new Map(adapters.map((row, i) => [`tuned-${i}`, row]));
  const folders = [...named].map(([name, { folder }]) => `${name}=${folder}`);
  if (named.size > 0) await askServer(["--base", base, "--adapter", ...folders], named);
  for (const row of found.filter(({ whole }) => whole))
    await askServer(["--base", row.folder, "--base-id", "tuned"], new Map([["tuned", row]]));
}

async function askServer(speaks, named) {
  const args = [BIN, "serve", ...speaks, "--port", "0", "--threads", threads, "--quiet"];
  const server = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const closed = new Promise((resolve) => server.once("close", resolve));
  try {
    const url = await listening(server);
    await Promise.all(
      [...named].map(async ([model, row]) => {
        const said = await answerOf(url, model);
        if (said !== row.text) row.error = new Error(`the server says '${said}', generate '${row.text}'`);
      }),
    );
  } finally {
    server.kill("SIGINT");
    await closed;
  }
}

async function answerOf(url, model) {
  const response = await fetch(`${url}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, messages: QUESTION, temperature: 0, max_tokens: Number(TOKENS) }),
  });
  const body = await response.text();
  return response.status === 200 ? JSON.parse(body).choices[0].message.content : body;
}

/** Exports to a target. What is refused must be refused by name; the cell says how. */
async function exportedTo(to, { whole }, speaks, own) {
  const args = ["export", ...speaks, "--to", to, "--output", own(to), "--threads", threads];
  const { status, said } = await lowrank(args, { fails: true });
  if (status === 0) {
    assert.match(
      said,
      whole ? /export (\d+) of \1/ : /merged (\d+) of \1, export \1 of \1/,
      `${to}: ${said.slice(-600)}`,
    );
    return to;
  }
  assert.ok(!existsSync(own(to)), `${to}: what was refused has left something`);
  return `${to} refused: ${said
    .trim()
    .split("\n")
    .at(-1)
    .replace(/^lowrank: /, "")}`;
}
