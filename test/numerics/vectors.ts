// Reads test/reference/vectors: numbers made by PyTorch, transformers and PEFT (test/reference/README.md).
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Sample } from "../../src/data/sample.js";
import { configFromHf } from "../../src/formats/hf/config.js";
import { type LinearName, type LoraConfig, linearNames, type ModelConfig } from "../../src/models/index.js";
import { f32, type HostTensor } from "../../src/tensor/index.js";

/** Folders of vectors: three Llamas, and each other family. */
export const CASES = [
  "llama2",
  "llama3",
  "bias",
  "mistral",
  "qwen2",
  "qwen3",
  "gemma2",
  "gemma3_text",
  "smollm3",
  "granite",
  "phi3",
  "olmo2",
] as const;
export type CaseName = (typeof CASES)[number];
export const VARIANTS = ["base", "qv", "all", "full"] as const;
export type VariantName = (typeof VARIANTS)[number];

export const VECTORS = fileURLToPath(new URL("../reference/vectors/", import.meta.url));

/** Ten optimiser steps as they were run; each step has micro-batches, each micro-batch the indices of its rows. */
export interface Training {
  readonly lr: readonly number[];
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
  readonly max_grad_norm: number;
  readonly micro_batches: readonly (readonly (readonly number[])[])[];
  readonly losses: readonly number[];
  readonly grad_norms: readonly number[];
}

export interface Variant {
  readonly loss_sum: number;
  readonly loss_mean: number;
  readonly supervised_tokens: number;
  readonly greedy: readonly number[];
  readonly training: Training;
}

export interface ReferenceCase {
  readonly name: CaseName;
  readonly folder: string;
  readonly config: ModelConfig;
  readonly weights: ReadonlyMap<string, HostTensor>;
  readonly rows: readonly Sample[];
  readonly prompt: readonly number[];
  readonly variants: Readonly<Record<VariantName, Variant>>;
  readonly expected: ReadonlyMap<string, HostTensor>;
}

export function readCase(name: CaseName): ReferenceCase {
  const folder = `${VECTORS}${name}`;
  const { rows, prompt, ...variants } = readJson(`${folder}/expected.json`) as {
    rows: { ids: number[]; supervised: number[] }[];
    prompt: number[];
  } & Record<VariantName, Variant>;
  return {
    name,
    folder,
    config: configFromHf(readJson(`${folder}/model/config.json`) as never, "config.json"),
    weights: readTensors(`${folder}/model/model.safetensors`),
    rows: samplesOf(rows),
    prompt,
    variants,
    expected: readTensors(`${folder}/expected.safetensors`),
  };
}

/** Rows of a reference as samples. */
export const samplesOf = (
  rows: readonly { readonly ids: readonly number[]; readonly supervised: readonly number[] }[],
) =>
  rows.map(
    ({ ids, supervised }, index): Sample => ({
      index,
      ids: Int32Array.from(ids),
      supervised: Uint8Array.from(supervised),
    }),
  );

/** Named tensors as plain numbers. */
export const valuesOf = (tensors: ReadonlyMap<string, HostTensor>): Map<string, Float32Array> =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));

/** An adapter of a case: its tensors without PEFT's prefix. */
export function readAdapterOf(
  { folder, config }: ReferenceCase,
  adapter: "qv" | "all",
): { lora: LoraConfig; tensors: ReadonlyMap<string, HostTensor> } {
  const json = readJson(`${folder}/${adapter}/adapter_config.json`) as { r: number; lora_alpha: number };
  const stored = readTensors(`${folder}/${adapter}/adapter_model.safetensors`);
  const tensors = new Map([...stored].map(([key, value]) => [key.replace(/^base_model\.model\./, ""), value]));
  const targetModules: readonly LinearName[] =
    adapter === "all" ? linearNames(config) : config.fused ? ["qkv_proj"] : ["q_proj", "v_proj"];
  const lora: LoraConfig = {
    r: json.r,
    alpha: json.lora_alpha,
    dropout: 0,
    useRslora: adapter === "all",
    init: "kaiming",
    targetModules,
  };
  return { lora, tensors };
}

export const readJson = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));

/** The fp32 tensors of a safetensors file, read by nothing but these lines. */
export function readTensors(path: string): Map<string, HostTensor> {
  const bytes = readFileSync(path);
  const header = Number(bytes.readBigUInt64LE(0));
  const entries = JSON.parse(bytes.toString("utf8", 8, 8 + header)) as Record<string, Entry>;
  const tensors = new Map<string, HostTensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(entries)) {
    if (name === "__metadata__" || dtype !== "F32") continue;
    const [start, end] = data_offsets.map((offset) => offset + 8 + header) as [number, number];
    tensors.set(name, f32(shape, new Float32Array(Uint8Array.from(bytes.subarray(start, end)).buffer)));
  }
  return tensors;
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** |a - b| / |b| in the L2 norm; Infinity when the lengths differ or a is not finite. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  const error = Math.sqrt(difference / (size || 1));
  return Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
}

/** The largest relative error over named tensors, as "1.2e-7 of name"; both sides must have the same names. */
export function worstError(
  actual: ReadonlyMap<string, ArrayLike<number>>,
  expected: ReadonlyMap<string, ArrayLike<number>>,
): { error: number; name: string } {
  const missing = [...expected.keys()].find((name) => !actual.has(name));
  const unknown = [...actual.keys()].find((name) => !expected.has(name));
  if (missing || unknown || expected.size === 0) {
    return { error: Number.POSITIVE_INFINITY, name: missing ? `missing ${missing}` : `unknown ${unknown}` };
  }
  let worst = { error: 0, name: "" };
  for (const [name, value] of expected) {
    const error = relativeError(actual.get(name)!, value);
    if (error > worst.error) worst = { error, name };
  }
  return worst;
}

/** The expected tensors whose names start with `prefix`, without it. */
export function expectedUnder({ expected }: ReferenceCase, prefix: string): Map<string, ArrayLike<number>> {
  const found = [...expected].filter(([name]) => name.startsWith(prefix));
  return new Map(found.map(([name, { data }]) => [name.slice(prefix.length), data as Float32Array]));
}
