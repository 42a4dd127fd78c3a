import { LINEARS, type LlamaConfig, type RopeScaling } from "../models/config.js";
import { UserError } from "../tensor/index.js";
import { codecOf } from "../tensor/quants.js";
import { GGML_TYPES, type GgufValue } from "./gguf.js";
import type { OpenGguf } from "./gguf-parts.js";
import { checkLlamaConfig } from "./hf-config.js";
import type { TensorSource } from "./source.js";
import { type PlacedTensor, tensorSource } from "./tensor-reader.js";

/** llama.cpp's names outside the blocks -> Hugging Face's. */
export const OUTER: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

/** llama.cpp's names inside a block, after `blk.N.` -> Hugging Face's, after `model.layers.N.`. */
export const INNER: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  ffn_norm: "post_attention_layernorm",
  attn_q: LINEARS.q_proj,
  attn_k: LINEARS.k_proj,
  attn_v: LINEARS.v_proj,
  attn_output: LINEARS.o_proj,
  ffn_gate: LINEARS.gate_proj,
  ffn_up: LINEARS.up_proj,
  ffn_down: LINEARS.down_proj,
};

/** Not weights of the model: what they say is in the configuration. */
export const ROPE_FREQS = "rope_freqs.weight";

/** Keys (after `llama.`) of other architectures that would change what is computed, with the values that change nothing. */
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

/**
 * The configuration of a GGUF Llama, out of its metadata and, for what that lacks, its tensors. Throws UserError for
 * another architecture, for what would compute something else, and for rope scalings other than linear and Llama 3's.
 */
export function llamaConfigFromGguf(
  gguf: Pick<OpenGguf, "metadata" | "tensors">,
  where: string,
  ropeFreqs?: Float32Array,
): LlamaConfig {
  const { metadata, tensors } = gguf;
  const architecture = metadata.get("general.architecture");
  if (architecture !== "llama") {
    throw new UserError(
      `${where}: its architecture is ${JSON.stringify(String(architecture ?? "missing"))}; only "llama" is supported`,
    );
  }
  checkNeutral(metadata, where);
  const number = (key: string, otherwise?: number) => numberOf(metadata, `llama.${key}`, where, otherwise);
  const hiddenSize = number("embedding_length");
  const heads = number("attention.head_count");
  const headDim = number("attention.key_length", hiddenSize / heads);
  for (const [key, expected] of [
    ["attention.value_length", headDim],
    ["rope.dimension_count", headDim],
  ] as const) {
    const value = number(key, expected);
    if (value !== expected)
      throw new UserError(`${where}: llama.${key} = ${value} is not supported, only ${expected} (the head size)`);
  }
  const ropeScaling = ropeScalingOf(metadata, where, headDim, number("rope.freq_base", 10000), ropeFreqs);
  const config: LlamaConfig = {
    vocabSize: tensors.get("token_embd.weight")?.shape[0] ?? number("vocab_size"),
    hiddenSize,
    intermediateSize: number("feed_forward_length"),
    numHiddenLayers: number("block_count"),
    numAttentionHeads: heads,
    numKeyValueHeads: number("attention.head_count_kv", heads),
    headDim,
    rmsNormEps: shortest(number("attention.layer_norm_rms_epsilon")),
    ropeTheta: number("rope.freq_base", 10000),
    ...(ropeScaling ? { ropeScaling } : {}),
    maxPositionEmbeddings: number("context_length", 2048),
    tieWordEmbeddings: !tensors.has("output.weight"),
    attentionBias: tensors.has("blk.0.attn_q.bias"),
    mlpBias: tensors.has("blk.0.ffn_gate.bias"),
  };
  checkLlamaConfig(config, where);
  return config;
}

function checkNeutral(metadata: ReadonlyMap<string, GgufValue>, where: string): void {
  for (const [key, neutral] of Object.entries(NEUTRAL)) {
    const value = metadata.get(`llama.${key}`);
    if (value === undefined || neutral.includes(value)) continue;
    const what = key === "expert_count" ? "a mixture of experts" : `llama.${key} = ${value}`;
    throw new UserError(`${where}: ${what} is not supported`);
  }
}

/** A GGUF Llama's tensors under Hugging Face's names and in its layout (q and k rows in rotate-half order). */
export function ggufTensors({ files, tensors }: OpenGguf, config: LlamaConfig): TensorSource {
  const placed = new Map<string, PlacedTensor>();
  for (const tensor of tensors.values()) {
    if (tensor.name === ROPE_FREQS) continue;
    const name = hfName(tensor.name);
    if (codecOf(tensor.type) === undefined) {
      throw new UserError(
        `${tensor.file.path}: tensor ${tensor.name} is stored as ${tensor.type}, which is not supported; use a file in ${READABLE}`,
      );
    }
    const { shape, offset, bytes, file, type: stored } = tensor;
    const rowTo = rowOrder(name, shape[0]!, config);
    placed.set(name, { name, shape, stored, bytes, file, offset, ...(rowTo ? { rowTo } : {}) });
  }
  return tensorSource("gguf", files, placed);
}

/** ggml's types that can be read. */
const READABLE = Object.values(GGML_TYPES)
  .filter((type) => codecOf(type))
  .join(", ");

/** Reads the frequency factors that Llama 3.1's conversion puts into a tensor, when there are any. */
export async function readRopeFreqs({ tensors }: OpenGguf): Promise<Float32Array | undefined> {
  const tensor = tensors.get(ROPE_FREQS);
  if (!tensor) return undefined;
  if (tensor.type !== "f32" || tensor.bytes > 2 ** 16)
    throw new UserError(`${tensor.file.path}: ${ROPE_FREQS} must be a short list of f32, got ${tensor.type}`);
  const bytes = new Uint8Array(tensor.bytes);
  await tensor.file.read(tensor.offset, bytes);
  return new Float32Array(bytes.buffer);
}

function hfName(name: string): string {
  const [, layer, part, kind] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const inner = part !== undefined && Object.hasOwn(INNER, part) ? INNER[part] : undefined;
  if (inner) return `model.layers.${layer}.${inner}.${kind}`;
  return Object.hasOwn(OUTER, name) ? OUTER[name]! : name;
}

/**
 * Undoes `LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py: it lays each head's rows out as interleaved pairs
 * (2i, 2i+1), where Hugging Face rotates row i with row i + headDim/2.
 */
export function rowOrder(name: string, rows: number, config: LlamaConfig): ((row: number) => number) | undefined {
  const module = name.replace(/\.(weight|bias)$/, "");
  if (!module.endsWith(LINEARS.q_proj) && !module.endsWith(LINEARS.k_proj)) return undefined;
  const { headDim } = config;
  if (rows % headDim !== 0) return undefined; // a wrong shape, reported where shapes are checked
  return (row) => {
    const within = row % headDim;
    return row - within + (within & 1) * (headDim / 2) + (within >> 1);
  };
}

/**
 * As llama.cpp reads it: without a type the scaling is linear, the first GGUFs call its factor `rope.scale_linear`, 0 stands for
 * none, and type "none" scales nothing.
 */
function ropeScalingOf(
  metadata: ReadonlyMap<string, GgufValue>,
  where: string,
  headDim: number,
  theta: number,
  factors: Float32Array | undefined,
): RopeScaling | undefined {
  const type = metadata.get("llama.rope.scaling.type") ?? "linear";
  if (type !== "none" && type !== "linear") {
    throw new UserError(
      `${where}: rope scaling ${JSON.stringify(String(type))} is not supported (supported: linear, llama3)`,
    );
  }
  const key = metadata.has("llama.rope.scaling.factor") ? "llama.rope.scaling.factor" : "llama.rope.scale_linear";
  const factor = numberOf(metadata, key, where, 1) || 1;
  if (factor < 0) throw new UserError(`${where}: ${key} must be above 0, got ${factor}`);
  const original = numberOf(metadata, "llama.rope.scaling.original_context_length", where, 0);
  const llama3 = factors && llama3Scaling(factors, where, headDim, theta, original);
  if (type === "none" || factor === 1) return llama3;
  if (llama3) throw new UserError(`${where}: ${key} = ${factor} beside the factors in ${ROPE_FREQS} is not supported`);
  return { type: "linear", factor };
}

/**
 * Llama 3.1's scaling, recovered from the factors it gives: the last is `factor`; the frequencies between are known for
 * the published low and high factors (1 and 4), so the trained context is the one stated, or the power of two, that
 * reproduces them all.
 */
function llama3Scaling(
  factors: Float32Array,
  where: string,
  headDim: number,
  theta: number,
  stated: number,
): RopeScaling | undefined {
  if (factors.every((f) => f === 1)) return undefined;
  const factor = shortest(factors[factors.length - 1]!);
  for (const original of [stated, ...Array.from({ length: 11 }, (_, i) => 1024 * 2 ** i)]) {
    const scaling = {
      type: "llama3",
      factor,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: original,
    } as const;
    const expected = llama3Factors(scaling, headDim, theta);
    if (expected.length === factors.length && expected.every((f, i) => Math.abs(f - factors[i]!) <= 1e-4 * f))
      return scaling;
  }
  throw new UserError(`${where}: the factors in ${ROPE_FREQS} are not Llama 3's scaling; this kind is not supported`);
}

/** What divides each rotary frequency (transformers, `_compute_llama3_parameters`, inverted). */
export function llama3Factors(scaling: RopeScaling & { type: "llama3" }, headDim: number, theta: number): number[] {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: original } = scaling;
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < original / highFreqFactor) return 1;
    if (wavelength > original / lowFreqFactor) return factor;
    const smooth = (original / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** A number; a list, one for each layer, where all are the same. */
function numberOf(metadata: ReadonlyMap<string, GgufValue>, key: string, where: string, otherwise?: number): number {
  const value = metadata.get(key) ?? otherwise;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (Array.isArray(value) && typeof value[0] === "number") {
    if (value.every((one) => one === value[0])) return value[0];
    throw new UserError(`${where}: ${key} differs from layer to layer, which is not supported`);
  }
  throw new UserError(
    `${where}: metadata ${key} must be a number, got ${value === undefined ? "nothing" : typeof value}`,
  );
}

/** The shortest decimal that is the same float32: 1e-5 was stored as 0.00000999999974... */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}
