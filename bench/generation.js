// Generation in one process: tokens/s of one text in fp32, 8 and 4 bits beside a measured copy, and of 16 texts together, on one
// adapter and on eight. Sides take turns token by token. Prints one JSON line. Options: --threads 2, --model FILE (a GGUF file or
// folder; default: random weights of SmolLM2-135M's shape), --tokens 48.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { adapterShapes } from "../dist/formats/peft/adapter.js";
import { Decoder, Sequence } from "../dist/generation/decoder.js";
import { bitsShapes, HEAD_BITS, linearBits, weightShapes } from "../dist/models/index.js";
import { startEngine } from "../dist/node/engine.js";
import { nodePlatform } from "../dist/node/platform.js";
import { BENCH_SHAPES, randomWeights } from "../dist/recipes/bench.js";
import { loadModel } from "../dist/recipes/model.js";
import { tensor } from "../dist/runtime/index.js";
import { random } from "../dist/tensor/index.js";
import { roundedToBits } from "../dist/weights/few-bits.js";
import { median } from "./common.js";

const { values } = parseArgs({
  options: {
    threads: { type: "string", default: "2" },
    tokens: { type: "string", default: "48" },
    model: { type: "string" },
  },
});
const [threads, tokens] = [Number(values.threads), Number(values.tokens)];
const MODES = ["none", "int8", "int4"];
const BITS = { int8: 8, int4: 4 };
const TEXTS = 16;
const ADAPTERS = 8;
const SECOND_COPY = 2 ** 30; // as a server has it

const platform = nodePlatform();
const residents = values.model ? await fromFile(values.model) : await fromShape(BENCH_SHAPES["smollm2-135m"]);
const alone = await oneText();
const many = await manyTexts();
const together = { ...many, batched_to_one_text: many.tokens_per_second_batched / alone.tokens_per_second.none };
const llama = await llamaCpp();
console.log(
  JSON.stringify({
    system: "lowrank",
    model: values.model ?? "smollm2-135m",
    threads,
    ...alone,
    ...together,
    ...llama,
  }),
);
process.exit(0);

async function fromFile(path) {
  const made = {};
  for (const quantize of MODES) made[quantize] = (await loadModel(path, platform, { threads, quantize })).resident;
  return made;
}

async function fromShape(config) {
  const device = await startEngine({ threads });
  const none = { device, config, weights: randomWeights(device, config, 1) };
  const made = { none };
  for (const mode of ["int8", "int4"]) {
    const bits = BITS[mode];
    const weights = new Map();
    for (const name of weightShapes(config).keys()) {
      const [, layer, module] = /layers\.(\d+)\..*\.(\w+_proj)\.weight$/.exec(name) ?? [];
      if (module)
        await pack(weights, none, name, name.replace(/\.weight$/, ""), linearBits(config, Number(layer), module, bits));
      else weights.set(name, none.weights.get(name));
      if (name === "model.embed_tokens.weight" && config.tieWordEmbeddings)
        await pack(weights, none, name, "lm_head", HEAD_BITS);
    }
    made[mode] = { device, config, weights, bits };
  }
  return made;
}

async function pack(weights, { device, weights: dense }, name, as, bits) {
  const { shape } = dense.get(name);
  const weight = roundedToBits(await device.download(dense.get(name)), shape, bits);
  const shapes = bitsShapes(shape, bits);
  for (const part of ["codes", "scales", "zeros"]) {
    const view = tensor(device, part === "scales" ? "f32" : "u8", shapes[part]);
    device.upload(view, weight[part]);
    weights.set(`${as}.${part}`, view);
  }
}

/** Tokens/s of each mode; shares are the fp32 weights' bytes times that, against what a copy moves (read and written). */
async function oneText() {
  const sequences = {};
  for (const mode of MODES) {
    const decoder = new Decoder(residents[mode]);
    sequences[mode] = new Sequence(decoder, 4 + tokens);
    for (let i = 0; i < 4; i++) await sequences[mode].feed([100 + i]);
  }
  const [from, to] = [new Float32Array(2 ** 26).fill(1), new Float32Array(2 ** 26)];
  const times = Object.fromEntries(MODES.map((mode) => [mode, []]));
  const copies = [];
  for (let i = 0; i < tokens; i++) {
    for (const mode of MODES) times[mode].push(await timed(() => sequences[mode].feed([200 + i])));
    copies.push(await timed(() => to.set(from)));
  }
  for (const mode of MODES) sequences[mode].dispose();
  const copy = (2 * from.byteLength) / (median(copies) / 1000);
  const rate = Object.fromEntries(MODES.map((mode) => [mode, 1000 / median(times[mode])]));
  return {
    copy_bytes_per_second: copy,
    tokens_per_second: rate,
    tokens_per_second_best: Object.fromEntries(MODES.map((mode) => [mode, 1000 / Math.min(...times[mode])])),
    f32_share: (bytesRead() * rate.none) / copy,
    few_bits_share: (bytesRead() * Math.max(rate.int8, rate.int4)) / copy,
    int8_to_f32: rate.int8 / rate.none,
    int4_to_f32: rate.int4 / rate.none,
  };
}

/** Bytes of fp32 weights that one token reads: all matrices, of the embedding only as the head. */
function bytesRead() {
  const { config } = residents.none;
  let values = 0;
  for (const [name, shape] of weightShapes(config)) {
    if (shape.length === 2 && (name !== "model.embed_tokens.weight" || config.tieWordEmbeddings))
      values += shape[0] * shape[1];
  }
  return 4 * values;
}

/** Tokens/s of 16 texts in steps together, on one adapter and on eight. */
async function manyTexts() {
  const model = residents.none;
  const adapters = Array.from({ length: ADAPTERS }, (_, i) => adapter(model, i));
  const adapterOf = { one: () => adapters[0], eight: (i) => adapters[i % ADAPTERS] };
  const sequences = {};
  for (const [name, own] of Object.entries(adapterOf)) {
    const decoder = new Decoder(model);
    decoder.secondCopy = SECOND_COPY;
    sequences[name] = Array.from({ length: TEXTS }, (_, i) => new Sequence(decoder, 8 + tokens, own(i)));
  }
  const step = (name, n) => Promise.all(sequences[name].map((sequence, i) => sequence.feed([300 + 16 * n + i])));
  const times = { one: [], eight: [] };
  for (let n = 0; n < tokens; n++) {
    for (const name of Object.keys(times)) {
      const took = await timed(() => step(name, n));
      if (n >= 4) times[name].push(took);
    }
  }
  return {
    texts: TEXTS,
    tokens_per_second_batched: (1000 * TEXTS) / median(times.one),
    eight_adapters_to_one: median(times.one) / median(times.eight),
    eight_adapters_to_one_best: Math.min(...times.one) / Math.min(...times.eight),
  };
}

function adapter({ device, config }, seed) {
  const lora = { r: 8, alpha: 16, dropout: 0, useRslora: false, init: "kaiming", targetModules: ["q_proj", "v_proj"] };
  const rng = random(seed, "adapter");
  const tensors = new Map();
  for (const [name, shape] of adapterShapes(lora, config)) {
    const view = tensor(device, "f32", shape);
    device.upload(
      view,
      Float32Array.from({ length: shape[0] * shape[1] }, () => 0.02 * rng.normal()),
    );
    tensors.set(name, view);
  }
  return { config: lora, tensors };
}

/** llama.cpp on the same file, where node-llama-cpp is in the folder that LOWRANK_NODE_LLAMA_CPP names. */
async function llamaCpp() {
  const entry = join(process.env.LOWRANK_NODE_LLAMA_CPP ?? ".", "node_modules/node-llama-cpp/dist/index.js");
  if (!values.model?.endsWith(".gguf") || !existsSync(entry)) return {};
  const { getLlama } = await import(pathToFileURL(entry).href);
  const llama = await getLlama({ gpu: false, build: "never" });
  const model = await llama.loadModel({ modelPath: values.model });
  const context = await model.createContext({ contextSize: 256, threads });
  const times = [];
  let last = performance.now();
  for await (const _ of context.getSequence().evaluate([100, 101, 102, 103], { temperature: 0, yieldEogToken: true })) {
    times.push(performance.now() - last);
    last = performance.now();
    if (times.length > tokens) break;
  }
  const rate = 1000 / median(times.slice(1));
  return { llama_cpp_tokens_per_second: rate, llama_cpp_bits: model.fileInfo?.metadata?.general?.file_type };
}

async function timed(run) {
  const start = performance.now();
  await run();
  return performance.now() - start;
}
