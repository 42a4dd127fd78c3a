// Whole model folders of every family: the reference's tiny models (test/reference/vectors), with a tokenizer of single letters.
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { configFromHf, configToHf } from "../../src/formats/hf/config.js";
import { hostTensor, writeWeights } from "../../src/formats/safetensors-writer.js";
import { type ModelConfig, weightShapes } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { f32, random, sizeOf } from "../../src/tensor/index.js";
import { type CaseName, readCase, VECTORS } from "../numerics/vectors.js";

/** One of each family. */
export const FAMILY_CASES = [
  "llama3",
  "mistral",
  "qwen2",
  "qwen3",
  "gemma2",
  "gemma3_text",
  "smollm3",
  "granite",
  "phi3",
  "olmo2",
] as const satisfies readonly CaseName[];

const LETTERS = [..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;?!'-/+=()ĠĊ"];
const SPECIAL = ["<pad>", "<s>", "</s>"];
const TEMPLATE =
  "{{ bos_token }}{% for message in messages %}{{ message['role'] + ':' + message['content'] }}" +
  "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

/** Writes the model of a case as a folder that can be trained and talked to; returns its path. */
export function familyFolder(into: string, name: CaseName): string {
  const folder = join(into, name);
  mkdirSync(folder, { recursive: true });
  cpSync(`${VECTORS}${name}/model`, folder, { recursive: true });
  writeTokenizer(folder);
  return folder;
}

type Sizes = Pick<ModelConfig, "hiddenSize" | "intermediateSize" | "headDim"> & Partial<ModelConfig>;

/** A family's configuration at other sizes: its layers' kinds take turns, as many parts of a head turn, as far as they did. */
export function resized(name: CaseName, sizes: Sizes): ModelConfig {
  const { config } = readCase(name);
  const { layers, rotaryDim, ropeScaling: scaling, ...rest } = { ...config, ...sizes };
  const turned = rotaryDim === undefined ? undefined : (rotaryDim / config.headDim) * sizes.headDim;
  const factors = (from: readonly number[]) =>
    Array.from({ length: (turned ?? sizes.headDim) / 2 }, (_, i) => from[Math.min(i, from.length - 1)]!);
  const stretched =
    scaling?.type === "longrope"
      ? { ...scaling, shortFactors: factors(scaling.shortFactors), longFactors: factors(scaling.longFactors) }
      : scaling;
  const kinds = layers && Array.from({ length: rest.numHiddenLayers }, (_, i) => layers[i % layers.length]!);
  return {
    ...rest,
    ...(kinds ? { layers: kinds } : {}),
    ...(turned === undefined ? {} : { rotaryDim: turned }),
    ...(stretched ? { ropeScaling: stretched } : {}),
  };
}

/**
 * A model of the same kind whose rows are whole blocks of 32, with random weights and the config.json that lowrank itself
 * writes for it; returns its path.
 */
export async function wideFolder(into: string, name: CaseName): Promise<string> {
  const { headDim } = readCase(name).config;
  const sizes = { hiddenSize: 64, intermediateSize: 96, headDim: headDim === 12 ? 16 : headDim };
  const folder = await randomFolder(join(into, `${name}-wide`), resized(name, sizes), name);
  writeTokenizer(folder);
  return folder;
}

/** Writes a model of random weights, with the config.json that lowrank itself writes and without a tokenizer; returns its path. */
export async function randomFolder(
  folder: string,
  config: ModelConfig,
  name: string,
  draw = (_weight: string, noise: number) => 0.2 * noise,
): Promise<string> {
  const json = configToHf(config, "float32", { eos_token_id: 2 });
  const rng = random(0, name);
  const tensors = [...weightShapes(configFromHf(json, name))].map(([weight, shape]) =>
    hostTensor(
      weight,
      f32(
        shape,
        Float32Array.from({ length: sizeOf(shape) }, () => draw(weight, rng.normal())),
      ),
    ),
  );
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(json));
  await writeWeights(nodeFiles, folder, tensors);
  return folder;
}

/** Twenty short conversations, as rows of a file; returns its path. */
export function familyRows(into: string): string {
  const path = join(into, "rows.jsonl");
  const rows = Array.from({ length: 20 }, (_, i) => ({
    messages: [
      { role: "user", content: `what is ${i}?` },
      { role: "assistant", content: `it is ${i} and ${i + 1}.` },
    ],
  }));
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

/** A byte-level tokenizer without merges: 3 special tokens and the letters that the rows use. */
export function writeTokenizer(folder: string): void {
  const vocab = Object.fromEntries([...SPECIAL, ...LETTERS].map((token, id) => [token, id]));
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const json = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value));
  json("tokenizer.json", {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", dropout: null, unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges: [] },
  });
  json("tokenizer_config.json", {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: "<s>",
    eos_token: "</s>",
    pad_token: "<pad>",
    chat_template: TEMPLATE,
  });
}
