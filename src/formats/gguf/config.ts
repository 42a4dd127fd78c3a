import {
  FAMILIES,
  familyOf,
  type GgufFields,
  GgufKeys,
  type ModelConfig,
  type ModelFamily,
  saidFamily,
  writeConfig,
} from "../../models/index.js";
import { UserError } from "../../tensor/index.js";
import { option } from "../../tensor/option.js";
import { checkModelConfig } from "../hf/config.js";
import { ggufName } from "./names.js";
import type { GgufValue } from "./reader.js";
import { type RopeTensors, ropeScalingOf, writeRope } from "./rope.js";
import type { GgufField } from "./writer.js";

/** Keys that would change what is computed, with the values that change nothing, where a family does not read them. */
const NEUTRAL: Readonly<Record<string, readonly GgufValue[]>> = {
  expert_count: [0],
  "attention.sliding_window": [0],
  "attention.causal": [true],
  "attention.scale": [0],
  "attention.clamp_kqv": [0],
  "attention.max_alibi_bias": [0],
  attn_logit_softcapping: [0],
  final_logit_softcapping: [0],
  embedding_scale: [0, 1],
  residual_scale: [0, 1],
  logit_scale: [0, 1],
  use_parallel_residual: [false],
  "rope.scaling.attn_factor": [0, 1],
  pooling_type: [0],
};

/** Keys that only say how a model was made, or again what tensors say. */
const IDLE = [
  "expert_used_count",
  "rope.scaling.finetuned",
  "rope.scaling.original_context_length",
  "tensor_data_layout",
  "vocab_size",
];

/** Of a GGUF what its configuration is read from. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>;
}

/** A configuration, and the whole names of the keys that it was read from. */
export interface ReadGgufConfig {
  readonly config: ModelConfig;
  readonly used: ReadonlySet<string>;
}

/** The family whose architecture a GGUF's metadata names. Throws UserError for others, naming those that are there. */
function familyOfGguf(metadata: ReadonlyMap<string, GgufValue>, where: string): ModelFamily {
  const architecture = metadata.get("general.architecture");
  const family = [...FAMILIES.values()].find(({ gguf }) => gguf.architecture === architecture);
  if (family) return family;
  const known = [...new Set([...FAMILIES.values()].map(({ gguf }) => gguf.architecture))];
  throw new UserError(
    `${where}: its architecture is ${JSON.stringify(String(architecture ?? "missing"))}, which is not supported ` +
      `(supported: ${known.join(", ")})`,
  );
}

/**
 * The configuration of a GGUF model, out of its metadata and, for what that lacks, its tensors. Throws UserError for an unknown
 * architecture, for what would compute something else, and for rope scalings that are not supported.
 */
export function readGgufConfig(
  { metadata, tensors }: GgufHeader,
  where: string,
  ropeTensors: RopeTensors = new Map(),
): ReadGgufConfig {
  const family = familyOfGguf(metadata, where);
  const { gguf } = family;
  const keys = new GgufKeys(gguf.architecture, metadata, where);
  const shape = shapeOf(keys, family);
  const rotaryDim = only(keys, "rope.dimension_count", shape.headDim, gguf.partialRotary);
  const theta = keys.number("rope.freq_base", 10000);
  const context = keys.number("context_length", 2048);
  const own = gguf.read(keys, shape);
  const ropeScaling = ropeScalingOf(keys, { rotaryDim, theta, context, scalings: gguf.scalings }, ropeTensors);
  checkNeutral(keys);
  const config: ModelConfig = {
    ...saidFamily(family),
    vocabSize: tensors.get("token_embd.weight")?.shape[0] ?? keys.number("vocab_size"),
    intermediateSize: keys.number("feed_forward_length"),
    numKeyValueHeads: keys.number("attention.head_count_kv", shape.numAttentionHeads),
    ...shape,
    ...(rotaryDim === shape.headDim ? {} : { rotaryDim }),
    rmsNormEps: keys.number("attention.layer_norm_rms_epsilon"),
    ropeTheta: theta,
    ...(ropeScaling ? { ropeScaling } : {}),
    maxPositionEmbeddings: context,
    tieWordEmbeddings: gguf.head ? gguf.head === "tied" : !tensors.has("output.weight"),
    ...biasesOf(tensors),
    ...own,
  };
  checkModelConfig(config, where);
  return { config, used: new Set([...keys.seen, ...IDLE.map((key) => keys.name(key))]) };
}

function shapeOf(keys: GgufKeys, { gguf }: ModelFamily) {
  const hiddenSize = keys.number("embedding_length");
  const numAttentionHeads = keys.number("attention.head_count");
  const even = hiddenSize / numAttentionHeads;
  const headDim = only(keys, "attention.key_length", even, !gguf.evenHeads);
  only(keys, "attention.value_length", headDim);
  return { hiddenSize, numHiddenLayers: keys.number("block_count"), numAttentionHeads, headDim };
}

/** A number that must be `usual`, unless it is free. */
function only(keys: GgufKeys, key: string, usual: number, free = false): number {
  const value = keys.number(key, usual);
  if (free || value === usual) return value;
  throw new UserError(`${keys.where}: ${keys.name(key)} = ${value} is not supported, only ${usual} (the head size)`);
}

function biasesOf(tensors: GgufHeader["tensors"]): Partial<ModelConfig> & { attentionBias: boolean; mlpBias: boolean } {
  const has = (name: string) => tensors.has(`blk.0.${name}.bias`);
  const [attentionBias, outputBias] = [has("attn_q"), has("attn_output")];
  return { attentionBias, ...(outputBias === attentionBias ? {} : { outputBias }), mlpBias: has("ffn_gate") };
}

function checkNeutral(keys: GgufKeys): void {
  for (const [key, neutral] of Object.entries(NEUTRAL)) {
    if (keys.unread(key)) keys.only(key, neutral, key === "expert_count" ? "a mixture of experts" : undefined);
  }
}

/** A model's shape as metadata, and the tensors beside its weights. */
export interface GgufModel {
  readonly metadata: ReadonlyMap<string, GgufField>;
  readonly ropeTensors: RopeTensors;
}

/**
 * Says a configuration in GGUF. Throws UserError naming what of it llama.cpp cannot run: what does not come back as it was
 * when the metadata is read.
 */
export function writeGgufConfig(config: ModelConfig, weights: ReadonlyMap<string, readonly number[]>): GgufModel {
  const { gguf } = familyOf(config);
  const rope = writeRope(config);
  const fields: GgufFields = {
    block_count: ["u32", config.numHiddenLayers],
    context_length: ["u32", config.maxPositionEmbeddings],
    embedding_length: ["u32", config.hiddenSize],
    feed_forward_length: ["u32", config.intermediateSize],
    "attention.head_count": ["u32", config.numAttentionHeads],
    "attention.head_count_kv": ["u32", config.numKeyValueHeads],
    "attention.key_length": ["u32", config.headDim],
    "attention.value_length": ["u32", config.headDim],
    "attention.layer_norm_rms_epsilon": ["f32", config.rmsNormEps],
    "rope.dimension_count": ["u32", config.rotaryDim ?? config.headDim],
    "rope.freq_base": ["f32", config.ropeTheta],
    vocab_size: ["u32", config.vocabSize],
    ...rope.fields,
    ...gguf.write(config),
  };
  const metadata = new Map<string, GgufField>(
    Object.entries(fields).map(([key, field]) => [`${gguf.architecture}.${key}`, field]),
  );
  const tensors = new Map([...weights].map(([name, shape]) => [ggufName(name, config), { shape }]));
  checkHeld(config, { metadata, ropeTensors: rope.tensors }, tensors);
  return { metadata, ropeTensors: rope.tensors };
}

function checkHeld(config: ModelConfig, { metadata, ropeTensors }: GgufModel, tensors: GgufHeader["tensors"]): void {
  const { architecture } = familyOf(config).gguf;
  const where = `a GGUF of the architecture "${architecture}" cannot hold this model`;
  const values = new Map<string, GgufValue>([["general.architecture", architecture]]);
  for (const [key, [type, value]] of metadata) values.set(key, type === "f32" ? Math.fround(value) : value);
  const { config: back } = readGgufConfig({ metadata: values, tensors }, where, ropeTensors);
  const [wanted, found] = [config, { ...back, family: familyOf(config).modelType }].map((one) =>
    writeConfig(withoutIdleWindows(one), "float32"),
  ) as [Record<string, unknown>, Record<string, unknown>];
  const differing = Object.keys(wanted).filter((key) => !sameInF32(wanted[key], found[key]));
  if (differing.length === 0) return;
  const what = differing.map((key) =>
    typeof wanted[key] === "object" && wanted[key] !== null
      ? key
      : `${key} = ${JSON.stringify(wanted[key])} (it would be ${JSON.stringify(found[key])})`,
  );
  throw new UserError(
    `${where}: llama.cpp would compute with another ${what.join(", ")}; exporting with ${option("to", "hf")} keeps it`,
  );
}

/** The same model without windows that are at least as long as any text. */
function withoutIdleWindows({ layers, ...config }: ModelConfig): ModelConfig {
  if (!layers) return config;
  const hides = (window: number | undefined) => window !== undefined && window < config.maxPositionEmbeddings;
  return {
    ...config,
    layers: layers.map(({ rope, window }) => (hides(window) ? { rope, window: window! } : { rope })),
  };
}

/** Whether two parsed JSON values are the same where numbers are float32. */
function sameInF32(a: unknown, b: unknown): boolean {
  if (typeof a === "number" && typeof b === "number") return Math.fround(a) === Math.fround(b);
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return keys.every((key) => sameInF32((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]));
}
