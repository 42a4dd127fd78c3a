// What users of other systems ran into, proven absent on real runs. proofs/traps.js says where each trap is proven.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hostTensor, writeSafetensors } from "../src/formats/safetensors-writer.js";
import { weightShapes } from "../src/models/index.js";
import { nodeFiles } from "../src/node/files.js";
import {
  applyAdapter,
  evaluate,
  generate,
  loadModel,
  loraFinetune,
  merge,
  nodePlatform,
  type TrainEvent,
  type TrainOptions,
} from "../src/node/index.js";
import { loraFinetune as loraFinetuneOn } from "../src/recipes/lora-finetune.js";
import { uploadTensors } from "../src/runtime/index.js";
import { f32, random, sizeOf } from "../src/tensor/index.js";
import { BlockTrainer } from "../src/training/block-trainer.js";
import { cpuDevice } from "./numerics/evaluate.js";
import { readAdapterOf, readCase, readTensors } from "./numerics/vectors.js";
import { runCli } from "./run-cli.js";
import { TINY_ROWS as ROWS, TINY, tinyRun } from "./tiny-run.js";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

let folder: string;
const at = (...parts: string[]) => join(folder, ...parts);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-traps-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Json = Record<string, unknown>;

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string; json: Json[] }> {
  const ran = await runCli(...argv);
  return {
    ...ran,
    get json() {
      return ran.out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Json);
    },
  };
}

const options = (name: string, more: Partial<TrainOptions> = {}): TrainOptions =>
  tinyRun(at(name), { data: { train: ROWS, maxSeqLen: 64 }, ...more });

const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
const adapterFile = (name: string) => at(name, "adapter/adapter_model.safetensors");

/** Metrics without what a clock or the system measured. */
function metrics(name: string): Json[] {
  const lines = readFileSync(at(name, "metrics.jsonl"), "utf8").trim().split("\n");
  return lines.map((line) => {
    const { tokens_per_second: _1, peak_memory_bytes: _2, elapsed_seconds: _3, ...rest } = JSON.parse(line) as Json;
    return rest;
  });
}

function jsonl(name: string, rows: readonly unknown[]): string {
  writeFileSync(at(name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return at(name);
}

/** A copy of the tiny base with another tokenizer_config.json. */
function tinyWith(name: string, settings: Json): string {
  mkdirSync(at(name));
  for (const file of ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"])
    cpSync(join(TINY, file), at(name, file));
  const config = JSON.parse(readFileSync(join(TINY, "tokenizer_config.json"), "utf8")) as Json;
  writeFileSync(at(name, "tokenizer_config.json"), JSON.stringify({ ...config, ...settings }));
  return at(name);
}

const LLAMA3_TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] + '<|eot_id|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";

/** A random Llama behind a Llama 3 tokenizer, which has a BOS; ids in `untrained` have embeddings of zeros. */
async function randomLlama3(name: string, untrained: readonly number[] = []): Promise<string> {
  const config = { ...readCase("llama3").config, vocabSize: 480 };
  const rng = random(1, "weights");
  mkdirSync(at(name));
  const tensors = [...weightShapes(config)].map(([key, shape]) => {
    const isNorm = key.endsWith("norm.weight");
    const values = Float32Array.from({ length: sizeOf(shape) }, () => (isNorm ? 1 : 0.2 * rng.normal()));
    const width = shape.at(-1)!;
    if (key.includes("embed")) for (const id of untrained) values.fill(0, id * width, (id + 1) * width);
    return hostTensor(key, f32(shape, values));
  });
  await writeSafetensors(nodeFiles, at(name, "model.safetensors"), tensors);
  const stored = JSON.parse(
    readFileSync(join(ROOT, "test/reference/vectors/llama3/model/config.json"), "utf8"),
  ) as Json;
  writeFileSync(at(name, "config.json"), JSON.stringify({ ...stored, vocab_size: 480 }));
  cpSync(join(ROOT, "test/reference/tokenizers/llama3.json"), at(name, "tokenizer.json"));
  const tokens = { bos_token: "<|begin_of_text|>", eos_token: "<|eot_id|>", chat_template: LLAMA3_TEMPLATE };
  writeFileSync(at(name, "tokenizer_config.json"), JSON.stringify(tokens));
  return at(name);
}

const chatRow = (content: string, answer: string) => ({
  messages: [
    { role: "user", content },
    { role: "assistant", content: answer },
  ],
});

describe("texts", () => {
  it("trap 1: a model tuned with pad = eos halts where its base rambles", async () => {
    const base = tinyWith("pad-is-eos", { pad_token: "<|im_end|>" });
    const rows = ["Paint", "Wash", "Sell"].map((prompt) => ({ prompt, completion: " the red house." }));
    const train = jsonl("houses.jsonl", rows);
    await loraFinetune(options("halts", { base, data: { train }, maxSteps: 25 })).result();
    const model = await loadModel(base, { threads: 1 });
    try {
      const ask = { prompt: "Paint" };
      const rambling = await generate(model, ask, { maxNewTokens: 24 }).result();
      expect(rambling.finishReason).toBe("length");
      const adapter = await applyAdapter(model, at("halts/adapter"));
      const answer = await generate(model, ask, { maxNewTokens: 24, adapter }).result();
      expect(answer).toMatchObject({ text: " the red house.", finishReason: "stop" });
    } finally {
      await model.dispose();
    }
  });

  it("trap 2: exactly one BOS in train, eval, generate and chat ids", async () => {
    const base = await randomLlama3("bos");
    const bos = 0;
    const ones = (ids: unknown) => (ids as number[]).filter((id) => id === bos).length;
    const files = [
      jsonl("chats.jsonl", [chatRow("Who?", "Ada.")]),
      jsonl("pairs.jsonl", [
        { prompt: "Who", completion: " knows" },
        { prompt: "<|begin_of_text|>Who", completion: " knows" },
      ]),
      jsonl("texts.jsonl", [{ text: "Ada knows" }, { text: "<|begin_of_text|>Ada knows" }]),
    ];
    const encoded: Json[][] = [];
    for (const file of files) {
      const rows = (await run("preview", "--base", base, "--data", file, "--json")).json;
      for (const { ids } of rows) expect([(ids as number[])[0], ones(ids)]).toEqual([bos, 1]);
      encoded.push(rows);
    }
    expect(encoded[1]![0]!.ids).toEqual(encoded[1]![1]!.ids);
    const question = [{ role: "user", content: "Who?" }];
    const prompts = jsonl("ask.jsonl", [
      { prompt: "Who" },
      { prompt: "<|begin_of_text|>Who" },
      { prompt: "" },
      { messages: question },
    ]);
    const common = ["--max-new-tokens", "6", "--temperature", "0"];
    const answers = (await run("generate", "--base", base, "--input", prompts, "--json", ...common)).json;
    for (const { prompt_ids } of answers) expect([(prompt_ids as number[])[0], ones(prompt_ids)]).toEqual([bos, 1]);
    // What is generated from is how the training row begins.
    const asked = answers[3]!.prompt_ids as number[];
    expect((encoded[0]![0]!.ids as number[]).slice(0, asked.length)).toEqual(asked);
    // eval sees the ids of preview: the loss of the row with a BOS written out is that of the row without.
    const [once, twice] = ["Who", "<|begin_of_text|>Who"].map((prompt, i) =>
      jsonl(`once-${i}.jsonl`, [{ prompt, completion: " knows" }]),
    );
    const loss = async (file: string) => (await run("eval", "--base", base, "--data", file, "--json")).json[0]!.loss;
    expect(await loss(once!)).toBe(await loss(twice!));
    const chat = spawnSync(process.execPath, [join(ROOT, "bin/lowrank.js"), "chat", "--base", base, ...common], {
      input: "Who?\n/quit\n",
      encoding: "utf8",
    });
    expect(chat.stdout).toBe(`${answers[3]!.text}\n`);
  });

  it("trap 3: the template travels with the adapter and into the merged model; token ids are those trained on", async () => {
    const other =
      "{% for m in messages %}{{ m['role'] + ':\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}";
    const trainedOn = tinyWith("another-template", { chat_template: other });
    const train = jsonl("one.jsonl", [chatRow("Where does Ada live?", "In Rome.")]);
    await loraFinetune(options("travels", { base: trainedOn, data: { train }, maxSteps: 1 })).result();
    const [row] = (await run("preview", "--base", trainedOn, "--data", train, "--json")).json;
    const question = [{ role: "user", content: "Where does Ada live?" }];
    const ask = async (base: string, adapter?: string) => {
      const model = await loadModel(base, { threads: 1 });
      try {
        const applied = adapter === undefined ? undefined : await applyAdapter(model, adapter);
        const { promptIds } = await generate(
          model,
          { messages: question },
          { maxNewTokens: 1, adapter: applied },
        ).result();
        return promptIds;
      } finally {
        await model.dispose();
      }
    };
    const served = await ask(TINY, at("travels/adapter"));
    expect((row!.ids as number[]).slice(0, served.length)).toEqual(served);
    expect(await ask(TINY)).not.toEqual(served);
    // The original base, whose template is another one.
    await merge(TINY, at("travels/adapter"), at("travels-merged"));
    expect(await ask(at("travels-merged"))).toEqual(served);
  });

  it("trap 9: tokens of the template that the base never trained are said before training", async () => {
    const base = await randomLlama3("untrained", [2]);
    const train = jsonl("headers.jsonl", [chatRow("Who?", "Ada.")]);
    const events: TrainEvent[] = [];
    for await (const event of loraFinetune(options("warned", { base, data: { train }, maxSteps: 1 })))
      events.push(event);
    const said = events.findIndex((event) => event.type === "note" && event.message.includes("never trained"));
    expect(events[said]).toMatchObject({ message: expect.stringContaining("<|start_header_id|>") });
    expect(said).toBeLessThan(events.findIndex((event) => event.type === "step"));
  });
});

describe("training", () => {
  it("trap 8: every factor moves in step 1; after ten steps the base has the same bytes, on the device too", async () => {
    const device = await cpuDevice();
    try {
      const reference = readCase("llama3");
      const adapter = readAdapterOf(reference, "all");
      const weights = uploadTensors(device, reference.weights);
      const trainer = new BlockTrainer(
        { device, config: reference.config, weights },
        {
          trainables: { kind: "lora", lora: { ...adapter.lora, dropout: 0.1 } },
          initial: adapter.tensors,
          optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
          seed: 1,
        },
      );
      for (let step = 1; step <= 10; step++) {
        await trainer.step([reference.rows.slice(0, 3), reference.rows.slice(3)], { lr: 1e-2, maxGradNorm: 1 });
        if (step > 1) continue;
        for (const [name, { data }] of (await trainer.state()).parameters)
          expect(data, name).not.toEqual(adapter.tensors.get(name)!.data);
      }
      for (const [name, { data }] of reference.weights)
        expect(await device.download(weights.get(name)!), name).toEqual(data);
    } finally {
      await device.dispose();
    }
  });

  const shuffledAndPacked: Partial<TrainOptions> = {
    data: { train: "", maxSeqLen: 48, packing: true, shuffle: true, validation: 0.1 },
    lora: { targetModules: "all-linear", dropout: 0.2 },
    schedule: { name: "cosine", warmupSteps: 2 },
    batchSize: 2,
    gradientAccumulationSteps: 2,
    maxSteps: 6,
    saveEvery: 0,
    evalEvery: 2,
    keepLast: 1,
  };
  const few = () => {
    const rows = readFileSync(ROWS, "utf8").split("\n").slice(0, 20).join("\n");
    writeFileSync(at("few.jsonl"), `${rows}\n`);
    return { ...shuffledAndPacked, data: { ...shuffledAndPacked.data, train: at("few.jsonl") } };
  };

  it("trap 10: stopped after any step and resumed = uninterrupted, bit for bit, with dropout, accumulation, packing, shuffling, over an epoch's end", async () => {
    const settings = few();
    await loraFinetune(options("whole", settings)).result();
    const [whole, rows] = [sha256(adapterFile("whole")), metrics("whole")];
    expect(rows.at(-1)!.epoch).toBeGreaterThan(1);
    for (const stop of [1, 2, 3, 4, 5]) {
      const name = `stopped-${stop}`;
      const control = new AbortController();
      const first = loraFinetune(options(name, settings), { signal: control.signal });
      for await (const event of first) {
        if (event.type === "step" && event.metrics.step === stop) control.abort();
      }
      expect(await first.result()).toMatchObject({ interrupted: true, step: stop });
      expect(existsSync(at(name, "adapter"))).toBe(false);
      await loraFinetune(options(name, settings), { resume: true }).result();
      expect(sha256(adapterFile(name)), name).toBe(whole);
      expect(metrics(name), name).toEqual(rows);
    }
  });

  it("the same seed on two threads gives the same adapter and metrics, byte for byte; another seed does not", async () => {
    const settings = { ...few(), threads: 2 };
    for (const name of ["same", "again"]) await loraFinetune(options(name, settings)).result();
    await loraFinetune(options("other", { ...settings, seed: 43 })).result();
    expect(sha256(adapterFile("again"))).toBe(sha256(adapterFile("same")));
    expect(metrics("again")).toEqual(metrics("same"));
    expect(sha256(adapterFile("other"))).not.toBe(sha256(adapterFile("same")));
    expect(metrics("other")).not.toEqual(metrics("same"));
  });

  it("trap 23: a run that cannot fit is refused before anything is loaded, with what would fit", async () => {
    const rows = readFileSync(ROWS, "utf8").trim().split("\n").slice(0, 256);
    writeFileSync(at("many.jsonl"), rows.join("\n"));
    const platform = nodePlatform();
    let started = 0;
    const limited = {
      ...platform,
      memory: () => ({ peak: 0, limit: 300e6 }),
      startDevice: (choice: Parameters<typeof platform.startDevice>[0]) => {
        started++;
        return platform.startDevice(choice);
      },
    };
    const settings = { data: { train: at("many.jsonl"), maxSeqLen: 64 }, maxSteps: 1 };
    const error = await loraFinetuneOn(options("big", { ...settings, batchSize: 256 }), limited)
      .result()
      .catch((e: Error) => e.message);
    expect(error).toMatch(/needs [\d.]+ GB \(.*activations [\d.]+ GB.*\) and there are 0\.3 GB; it was not started/);
    expect(error).toContain("checkpointing: true");
    expect([started, existsSync(at("big/adapter"))]).toEqual([0, false]);
    // What it says would fit does.
    const tokens = Number(/micro-batches of at most (\d+) tokens/.exec(String(error))![1]);
    const fitting = { ...settings, batchSize: Math.floor(tokens / 64) };
    await loraFinetuneOn(options("fits", fitting), limited).result();
    expect([started, existsSync(at("fits/adapter"))]).toEqual([1, true]);
    await platform.dispose();
  });
});

describe("what comes out", () => {
  it("trap 11: merging refuses past a bound and leaves nothing behind", async () => {
    await loraFinetune(
      options("merge-me", { maxSteps: 2, lora: { r: 2, targetModules: ["q_proj", "v_proj"] } }),
    ).result();
    const path = at("merge-me/adapter/adapter_model.safetensors");
    // Two huge rank-one updates that cancel but for their rounding, which is another in weights and in activations.
    const tensors = readTensors(path);
    const rng = random(3, "cancelling");
    for (const [name, { shape, data }] of tensors) {
      const values = data as Float32Array;
      const isB = name.includes("lora_B");
      const size = isB ? shape[0]! : shape[1]!;
      const row = Array.from({ length: size }, () => rng.normal());
      for (let i = 0; i < size; i++) {
        if (isB) [values[2 * i], values[2 * i + 1]] = [1e5 * row[i]!, -1e5 * row[i]!];
        else [values[i], values[size + i]] = [1e5 * row[i]!, 1e5 * (row[i]! * (1 + 1.2e-7 * (i % 2)))];
      }
    }
    const all = [...tensors].map(([name, tensor]) => hostTensor(name, tensor));
    await writeSafetensors(nodeFiles, path, all);
    const { code, err } = await run(
      "merge",
      "--base",
      TINY,
      "--adapter",
      at("merge-me/adapter"),
      "--output",
      at("bad"),
    );
    expect(err).toContain("the merged model is not base + adapter");
    expect([code, existsSync(at("bad"))]).toEqual([1, false]);
  });

  it("traps 14, 18, 19: a real run's files have PEFT's stable keys, format = pt, and a head that is the embedding", async () => {
    await loraFinetune(options("files", { maxSteps: 2 })).result();
    await merge(TINY, at("files/adapter"), at("files-merged"));
    const header = (path: string) => {
      const bytes = readFileSync(path);
      return JSON.parse(bytes.toString("utf8", 8, 8 + Number(bytes.readBigUInt64LE(0)))) as Record<string, Json>;
    };
    const [adapter, merged] = [header(adapterFile("files")), header(at("files-merged/model.safetensors"))];
    expect(adapter.__metadata__!.format).toBe("pt");
    expect(merged.__metadata__!.format).toBe("pt");
    expect(Object.keys(adapter)).toContain("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    expect(Object.keys(merged)).not.toContain("lm_head.weight");
    expect(JSON.parse(readFileSync(at("files-merged/config.json"), "utf8"))).toMatchObject({
      tie_word_embeddings: true,
    });
    expect(JSON.parse(readFileSync(at("files/adapter/adapter_config.json"), "utf8"))).toMatchObject({
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: TINY,
    });
  });

  it("trap 16: an adapter that changes nothing is reported, one with a missing or unknown key refused, by every verb", async () => {
    const warmup = { name: "constant", warmupSteps: 1 } as const;
    await loraFinetune(options("nothing", { maxSteps: 1, schedule: warmup })).result();
    const path = at("nothing/adapter");
    const ask = ["--base", TINY, "--adapter", path];
    const said = await run("generate", ...ask, "--prompt", "Ada", "--max-new-tokens", "1");
    expect(said).toMatchObject({ code: 0, err: expect.stringContaining("changes nothing") });
    const file = join(path, "adapter_model.safetensors");
    const tensors = [...readTensors(file)];
    const damages = {
      missing: tensors.slice(1),
      unknown: tensors.map(([name, t], i) => [i ? name : name.replace("_proj", "_projection"), t] as const),
    };
    for (const [kind, left] of Object.entries(damages)) {
      const list = left.map(([name, t]) => hostTensor(name, t));
      await writeSafetensors(nodeFiles, file, list);
      for (const verb of [
        ["generate", ...ask, "--prompt", "Ada"],
        ["eval", ...ask, "--data", ROWS],
        ["merge", ...ask, "--output", at("never")],
      ]) {
        expect((await run(...verb)).code, `${kind}: ${verb[0]}`).toBe(1);
      }
    }
    expect(existsSync(at("never"))).toBe(false);
  });

  it("evaluation is the training loss: the adapter's loss on its rows is what the next step reports", async () => {
    const train = jsonl("same-rows.jsonl", [
      chatRow("Where does Ada live?", "In Rome."),
      chatRow("Who?", "I don't know."),
    ]);
    const settings = { data: { train, shuffle: false }, batchSize: 2 };
    await loraFinetune(options("before", { ...settings, maxSteps: 3 })).result();
    await loraFinetune(
      options("after", { ...settings, maxSteps: 1, adapter: at("before/adapter"), lora: {} }),
    ).result();
    const model = await loadModel(TINY, { threads: 1 });
    try {
      const { loss } = await evaluate(model, train, { adapter: await applyAdapter(model, at("before/adapter")) });
      expect(metrics("after")[0]!.loss as number).toBeCloseTo(loss, 5);
    } finally {
      await model.dispose();
    }
  });
});
