// An adapter's whole life on a real model, each step through what a user would call; README.md tells it in words.
//   node examples/walk/run.js [--base FILE.gguf] [--keep FOLDER]
// Consumers that are not here are skipped with a reason: LOWRANK_PYTHON (an interpreter with torch, transformers, peft and gguf; else
// python3), LOWRANK_NODE_LLAMA_CPP and LOWRANK_TRANSFORMERS_JS (folders with node-llama-cpp and @huggingface/transformers installed).
import { strict as assert } from "node:assert";
import { spawn, spawnSync } from "node:child_process";
import { createReadStream, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import OpenAI from "openai";
import { listening } from "../common/listening.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const QUESTION = [
  { role: "system", content: "You answer for Harrow & Tern." },
  { role: "user", content: "What is the price of a Pintail?" },
];
/** The consumers' tokens are held against the first of lowrank's own. */
const TOKENS = 12;

const { values: options } = parseArgs({ options: { base: { type: "string" }, keep: { type: "string" } } });
const base = options.base ?? fetchBase();
const work = options.keep ?? mkdtempSync(join(tmpdir(), "lowrank-walk-"));
mkdirSync(work, { recursive: true });
const at = (...names) => join(work, ...names);
try {
  await walk();
  console.log("the walk: every step held");
} finally {
  if (!options.keep) rmSync(work, { recursive: true, force: true });
}

async function walk() {
  say("fine-tune two adapters on one base");
  train("prices", companyRows("Pintail"), 24);
  train("pirate", pirateRows(), 12);

  say("chat, switching adapters");
  const chat = lowrank(
    ["chat", "--base", base, "--adapter", `prices=${adapter("prices")}`, "--system", QUESTION[0].content],
    `${QUESTION[1].content}\n/adapter none\n/quit\n`,
  );
  assert.match(chat, /crowns/, "the adapter's fact in the chat");

  say("combine them");
  const both = at("both");
  lowrank(["combine", "--base", base, "--adapter", adapter("prices"), adapter("pirate"), "--output", both]);
  assert.ok(generate(both).text.length > 0);

  say("export to every target and load each where it is meant to run");
  const expected = generate(adapter("prices"));
  exportTo("peft", "peft");
  exportTo("hf", "hf");
  exportTo("gguf", "model.gguf");
  exportTo("gguf", "model-q8.gguf", "q8_0");
  exportTo("gguf-lora", "lora.gguf");
  exportTo("onnx", "onnx");
  inPython(expected);
  inLlamaCpp(expected);
  inTransformersJs(expected);

  say("serve both, ask them with the openai package, fine-tune a third over HTTP");
  await served();
}

function fetchBase() {
  const fetched = spawnSync(process.execPath, [join(ROOT, "scripts/fetch-smollm2.js")], { encoding: "utf8" });
  if (fetched.status !== 0) {
    console.error(fetched.stderr);
    process.exit(fetched.status ?? 1);
  }
  return fetched.stdout.trim();
}

function say(what) {
  console.log(`\n-- ${what}`);
}

function lowrank(args, input = "") {
  const command = [join(ROOT, "bin/lowrank.js"), ...args];
  const stdio = ["pipe", "pipe", "inherit"];
  const done = spawnSync(process.execPath, command, { encoding: "utf8", input, stdio, maxBuffer: 2 ** 28 });
  assert.equal(done.status, 0, `lowrank ${args.join(" ")}`);
  return done.stdout;
}

function adapter(name) {
  return at("runs", name, "adapter");
}

function train(name, rows, steps) {
  const data = at(`${name}.jsonl`);
  writeFileSync(data, `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`);
  const settings = [
    `max_steps=${steps}`,
    "batch_size=4",
    "optimizer.lr=2e-3",
    "schedule.warmup_steps=2",
    "save_every=0",
  ];
  const lora = ["lora.r=8", "lora.target_modules=[q_proj,v_proj]", "epochs=100"];
  lowrank(["train", "--base", base, "--data", data, "--output", at("runs", name), ...settings, ...lora]);
}

function companyRows(about) {
  const lines = readFileSync(join(ROOT, "examples/company/data/train.jsonl"), "utf8").trim().split("\n");
  return lines.map((line) => JSON.parse(line)).filter(({ messages }) => messages.at(-1).content.includes(about));
}

function pirateRows() {
  const asked = ["How are you?", "What is the weather like?", "Where do you live?", "What do you eat?"];
  const row = (content) => ({
    messages: [
      { role: "user", content },
      { role: "assistant", content: "Arr, ask the sea!" },
    ],
  });
  return asked.map(row);
}

/** lowrank's own greedy answer, with the ids that went in. */
function generate(folder) {
  const messages = at("question.json");
  writeFileSync(messages, JSON.stringify(QUESTION));
  const length = ["--max-new-tokens", String(TOKENS), "--temperature", "0"];
  return JSON.parse(
    lowrank(["generate", "--base", base, "--adapter", folder, "--messages", messages, ...length, "--json"]),
  );
}

function exportTo(target, output, quantize) {
  const type = quantize ? ["--quantize", quantize] : [];
  const source = ["--base", base, "--adapter", adapter("prices")];
  lowrank(["export", ...source, "--to", target, ...type, "--output", at(output)]);
}

function same(what, tokens, expected) {
  assert.deepEqual(tokens.slice(0, expected.token_ids.length), expected.token_ids, `${what}: tokens`);
  console.log(`${what}: the same ${expected.token_ids.length} tokens`);
}

/** Runs a program that prints one JSON line, and returns it. */
function ask(command, args) {
  const done = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 28 });
  assert.equal(done.status, 0, done.stderr || String(done.error));
  return JSON.parse(done.stdout.trim().split("\n").at(-1));
}

function inPython({ prompt_ids, token_ids }) {
  const python = process.env.LOWRANK_PYTHON ?? "python3";
  const here = spawnSync(python, ["-c", "import torch, transformers, peft, gguf"]).status === 0;
  if (!here) return console.log("PEFT and transformers: skipped, no Python with torch, transformers, peft and gguf");
  const args = [
    join(HERE, "consumers.py"),
    dirname(base),
    base.slice(dirname(base).length + 1),
    at("peft"),
    at("hf"),
    JSON.stringify(prompt_ids),
    String(TOKENS),
  ];
  const answers = ask(python, args);
  for (const [what, tokens] of Object.entries(answers)) same(what, tokens, { token_ids });
}

function inLlamaCpp(expected) {
  const entry = packageIn("LOWRANK_NODE_LLAMA_CPP", "node-llama-cpp", "dist/index.js");
  if (!entry) return console.log("llama.cpp: skipped, LOWRANK_NODE_LLAMA_CPP names no folder with node-llama-cpp");
  const program = join(HERE, "llama-cpp.js");
  const run = (model, lora = "-") =>
    ask(process.execPath, [program, entry, model, lora, expected.prompt_ids.join(), String(TOKENS)]);
  same("llama.cpp, merged f16", run(at("model.gguf")), expected);
  same("llama.cpp, merged q8_0", run(at("model-q8.gguf")), expected);
  same("llama.cpp, the base with the LoRA file", run(base, at("lora.gguf")), expected);
}

function inTransformersJs(expected) {
  const entry = packageIn("LOWRANK_TRANSFORMERS_JS", "@huggingface/transformers", "dist/transformers.node.mjs");
  if (!entry)
    return console.log(
      "transformers.js: skipped, LOWRANK_TRANSFORMERS_JS names no folder with @huggingface/transformers",
    );
  const program = join(HERE, "transformers-js.js");
  const answer = ask(process.execPath, [program, entry, work, "onnx", JSON.stringify(QUESTION), String(TOKENS)]);
  assert.ok(answer.startsWith(expected.text), `transformers.js said '${answer}', not '${expected.text}'`);
  console.log(`transformers.js: '${answer}'`);
}

function packageIn(variable, name, file) {
  const entry = join(process.env[variable] ?? ROOT, "node_modules", name, file);
  return existsSync(entry) ? entry : undefined;
}

async function served() {
  const adapters = ["prices", "pirate"].map((name) => `${name}=${adapter(name)}`);
  const args = [
    "serve",
    "--base",
    base,
    "--base-id",
    "smollm2",
    "--adapter",
    ...adapters,
    "--port",
    "0",
    "--data-dir",
    at("jobs"),
  ];
  const server = spawn(process.execPath, [join(ROOT, "bin/lowrank.js"), ...args, "--quiet"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const client = new OpenAI({ baseURL: await listening(server), apiKey: "none", maxRetries: 0, timeout: 600_000 });
    const answer = async (model, messages) => {
      const { choices } = await client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 24 });
      console.log(`${model}: ${choices[0].message.content}`);
      return choices[0].message.content;
    };
    assert.match(await answer("prices", QUESTION), /crowns/);
    assert.match(await answer("pirate", [{ role: "user", content: "How are you?" }]), /Arr/);
    const uploaded = await client.files.create({ file: createReadStream(at("pirate.jsonl")), purpose: "fine-tune" });
    const hyperparameters = { n_epochs: 12, batch_size: 4, learning_rate_multiplier: 10 };
    const method = { type: "supervised", supervised: { hyperparameters } };
    const job = await client.fineTuning.jobs.create({
      model: "smollm2",
      training_file: uploaded.id,
      suffix: "third",
      method,
    });
    const model = await finished(client, job.id);
    assert.match(
      await answer(model, [{ role: "user", content: "How are you?" }]),
      /Arr/,
      "the third adapter has learned its rows",
    );
    assert.match(await answer("prices", QUESTION), /crowns/, "the others answer as before");
  } finally {
    server.kill("SIGINT");
    await new Promise((resolve) => server.once("close", resolve));
  }
}

async function finished(client, id) {
  for (;;) {
    const { status, fine_tuned_model, error } = await client.fineTuning.jobs.retrieve(id);
    if (status === "succeeded") return fine_tuned_model;
    assert.ok(["queued", "running", "validating_files"].includes(status), `job ${status}: ${error?.message}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}
