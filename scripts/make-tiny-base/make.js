// Makes models/tiny again: the demonstration's base model and its data.
//   node scripts/make-tiny-base/make.js           everything: data, tokenizer, random weights, pre-training
//   node scripts/make-tiny-base/make.js --resume go on with a pre-training that was stopped
//   node scripts/make-tiny-base/make.js --data    only models/tiny/data
// The text is written by src/recipes/demo/world.ts, the training is recipes/tiny/pretrain.yaml: all seeded.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureBuilt, ensureDependencies } from "../build.js";
import { SPECIAL_TOKENS, trainTokenizer } from "./bpe.js";

ensureDependencies();
ensureBuilt();
const { makeWorld, pretrainRows, fineTuneRows, heldOutQuestions, tokenizerText } = await import(
  "../../dist/recipes/demo/world.js"
);
const { weightShapes } = await import("../../dist/models/index.js");
const { configFromHf } = await import("../../dist/formats/hf/config.js");
const { hostTensor, narrowed } = await import("../../dist/formats/safetensors-writer.js");
const { openModel } = await import("../../dist/weights/model-folder.js");
const { writeModel } = await import("../../dist/export/merge.js");
const { nodeFiles } = await import("../../dist/node/files.js");
const { random } = await import("../../dist/tensor/index.js");

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const WORK = join(ROOT, "runs/tiny-base");
const MODEL = join(ROOT, "models/tiny");
const RESUME = process.argv.includes("--resume");
const SEED = 0;
const VOCAB = 512;
const PRETRAIN_ROWS = 36_000;

const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: VOCAB,
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  hidden_act: "silu",
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  rope_scaling: null,
  attention_bias: false,
  mlp_bias: false,
  attention_dropout: 0,
  tie_word_embeddings: true,
  initializer_range: 0.02,
  bos_token_id: 0,
  eos_token_id: 2,
  pad_token_id: 0,
  use_cache: true,
  torch_dtype: "float32",
};

const TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const world = makeWorld(SEED);
writeRows(join(MODEL, "data"), { "train.jsonl": fineTuneRows(world), "questions.jsonl": heldOutQuestions(world) });
if (!process.argv.includes("--data")) await makeBase();

async function makeBase() {
  if (!RESUME) await prepare();
  pretrain();
  await publish(join(WORK, "run/model"));
}

/** Writes what pre-training starts from: rows, tokenizer, random weights. */
async function prepare() {
  rmSync(WORK, { recursive: true, force: true });
  writeRows(WORK, { "pretrain.jsonl": pretrainRows(world, PRETRAIN_ROWS) });
  await writeModel(nodeFiles, join(WORK, "init"), {
    config: CONFIG,
    generation: { bos_token_id: 0, eos_token_id: 2, pad_token_id: 0 },
    tokenizer: makeTokenizer(),
    tensors: randomWeights(),
  });
}

function makeTokenizer() {
  const tokenizerJson = trainTokenizer(tokenizerText(world, 3000), VOCAB);
  const size = Object.keys(tokenizerJson.model.vocab).length;
  if (size !== VOCAB) throw new Error(`the text gave ${size} tokens, not ${VOCAB}`);
  const [padToken, , endToken] = SPECIAL_TOKENS;
  const tokenizerConfig = {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: null,
    eos_token: endToken,
    pad_token: padToken,
    unk_token: null,
    model_max_length: CONFIG.max_position_embeddings,
    clean_up_tokenization_spaces: false,
  };
  return { tokenizerJson, tokenizerConfig, chatTemplate: TEMPLATE };
}

/** Hugging Face's initialisation: normal with `initializer_range`, norms at one. */
function randomWeights() {
  const shapes = weightShapes(configFromHf(CONFIG, "config"));
  return [...shapes].map(([name, shape]) => {
    const rng = random(SEED, "init", name);
    const size = shape.reduce((a, b) => a * b, 1);
    const value = name.endsWith("norm.weight") ? () => 1 : () => CONFIG.initializer_range * rng.normal();
    return hostTensor(name, { dtype: "f32", shape, data: Float32Array.from({ length: size }, value) });
  });
}

function pretrain() {
  const args = [join(ROOT, "bin/lowrank.js"), "train", "--config", join(ROOT, "recipes/tiny/pretrain.yaml")];
  if (RESUME) args.push("--resume");
  const { status } = spawnSync(process.execPath, args, { cwd: ROOT, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

/** Copies the trained model to models/tiny, weights narrowed to bfloat16. */
async function publish(folder) {
  const model = await openModel(nodeFiles, folder);
  const tensors = [];
  for (const [name, { shape }] of model.tensors.tensors) {
    const values = await model.tensors.read(name);
    tensors.push({ name, dtype: "bf16", shape, chunks: () => narrowed(name, values, "bf16") });
  }
  await model.close();
  const config = { ...model.configJson, torch_dtype: "bfloat16" };
  const fresh = join(WORK, "published");
  const { generationJson: generation, tokenizer } = model;
  await writeModel(nodeFiles, fresh, { config, generation, tokenizer, tensors });
  for (const name of await nodeFiles.list(fresh)) writeFileSync(join(MODEL, name), readFileSync(join(fresh, name)));
  console.error(`lowrank: wrote ${MODEL}`);
}

function writeRows(folder, files) {
  mkdirSync(folder, { recursive: true });
  for (const [name, rows] of Object.entries(files)) {
    writeFileSync(join(folder, name), [...rows].map((row) => `${JSON.stringify(row)}\n`).join(""));
  }
}
