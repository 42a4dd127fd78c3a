import { type LlamaConfig, weightShapes } from "../models/config.js";
import { sizeOf } from "../tensor/index.js";
import { addedTokens, ggufTokenizer } from "./export-tokenizer.js";
import type { Files } from "./files.js";
import { INNER, llama3Factors, OUTER, ROPE_FREQS, rowOrder } from "./gguf-llama.js";
import { type GgufField, type GgufTensorToWrite, writeGgufParts } from "./gguf-writer.js";
import { mergeWeight } from "./merge.js";
import type { OpenModel } from "./model-folder.js";
import type { Adapter } from "./peft.js";
import { encodeValues, fittingType, type GgufWeightType } from "./quants-encode.js";
import { nameForTokens } from "./token-stripping.js";

export interface GgufExportOptions {
  readonly type: GgufWeightType;
  /** `general.name`. */
  readonly name: string;
  /** Tokens that end a text or a turn, beside the tokenizer's EOS. Default: the base's. */
  readonly eosIds?: readonly number[];
  /** Bytes of tensors after which another file is begun (`NAME-00001-of-00003.gguf`). Default: one file. */
  readonly splitMaxSize?: number;
  readonly onTensor?: (done: number, total: number, name: string) => void;
}

/** llama.cpp's `llama_ftype`: what most tensors are stored as. */
const FILE_TYPES: Readonly<Record<GgufWeightType, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q8_0: 7,
  q4_k: 14,
  q6_k: 18,
  bf16: 32,
};
/** What the embedding and the head, which suffer most, are stored as at four bits. */
const OUTER_TYPES: Partial<Record<GgufWeightType, GgufWeightType>> = { q4_0: "q8_0", q4_1: "q8_0", q4_k: "q6_k" };
/** Values encoded at a time; whole rows, so whole blocks. */
const CHUNK_VALUES = 2 ** 19;

/**
 * Writes base + adapter (W + scale B A) as a GGUF that llama.cpp loads: tokenizer and chat template inside, q and k rows in
 * its order, Llama 3's rope scaling as `rope_freqs.weight`, no output tensor where the head is tied. Whole or not at all;
 * memory is the largest tensor in fp32 and a chunk. Returns the path to be opened: `path`, or that of the first part. Throws
 * UserError when the tokenizer has no equal in llama.cpp.
 */
export async function exportGguf(
  files: Files,
  base: OpenModel,
  adapter: Adapter | undefined,
  path: string,
  options: GgufExportOptions,
): Promise<string> {
  const { config } = base;
  const shapes = [...weightShapes(config)];
  let done = 0;
  const tensors = shapes.map(([name, shape]) => {
    const type = ggufTypeOf(name, shape, options.type);
    const finished = () => options.onTensor?.(++done, shapes.length, name);
    return weightTensor(base, adapter, name, shape, type, finished);
  });
  const factors = ropeFactors(config);
  const all = factors ? [factors, ...tensors] : tensors;
  const { splitMaxSize = Number.POSITIVE_INFINITY } = options;
  return writeGgufParts(files, path, modelMetadata(base, options), all, splitMaxSize);
}

/**
 * How a weight is stored in a file of `type`: vectors stay fp32; at four bits the embedding and the head get more; rows that
 * are no whole number of blocks get the next type that fits.
 */
export function ggufTypeOf(name: string, shape: readonly number[], type: GgufWeightType): GgufWeightType {
  if (shape.length === 1) return "f32";
  const outer = !name.startsWith("model.layers.");
  return fittingType((outer ? OUTER_TYPES[type] : undefined) ?? type, shape[1]!);
}

/** llama.cpp's name of a weight or of a linear layer's path with a suffix. */
export function ggufName(name: string): string {
  const outer = Object.entries(OUTER).find(([, hf]) => hf === name);
  if (outer) return outer[0];
  const [, layer, module, suffix] = /^model\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(name) ?? [];
  const inner = Object.entries(INNER).find(([, hf]) => hf === module);
  if (!inner) throw new RangeError(`${name} has no name in a GGUF`);
  return `blk.${layer}.${inner[0]}.${suffix}`;
}

/** fp32 values of a weight with the adapter merged in, rows in Hugging Face's order. */
export async function mergedValues(base: OpenModel, adapter: Adapter | undefined, name: string): Promise<Float32Array> {
  const values = await base.tensors.read(name);
  if (adapter) await mergeWeight(name, values, adapter, base);
  return values;
}

function weightTensor(
  base: OpenModel,
  adapter: Adapter | undefined,
  name: string,
  shape: readonly number[],
  type: GgufWeightType,
  finished: () => void,
): GgufTensorToWrite {
  return {
    name: ggufName(name),
    shape,
    type,
    async *chunks() {
      const values = await mergedValues(base, adapter, name);
      yield* encodedRows(name, values, shape, type, base.config);
      finished();
    },
  };
}

/** The bytes of a weight in GGUF's row order, some rows at a time; between chunks others may run. */
export async function* encodedRows(
  name: string,
  values: Float32Array,
  shape: readonly number[],
  type: GgufWeightType,
  config: LlamaConfig,
): AsyncGenerator<Uint8Array> {
  const rows = shape[0]!;
  const width = sizeOf(shape) / rows;
  const rowTo = rowOrder(name, rows, config);
  const perChunk = Math.max(1, Math.floor(CHUNK_VALUES / width));
  for (let first = 0; first < rows; first += perChunk) {
    const count = Math.min(perChunk, rows - first);
    let part = values.subarray(first * width, (first + count) * width);
    if (rowTo) {
      part = new Float32Array(count * width);
      for (let i = 0; i < count; i++) {
        const from = rowTo(first + i) * width;
        part.set(values.subarray(from, from + width), i * width);
      }
    }
    yield encodeValues(name, type, part);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

function modelMetadata(base: OpenModel, { type, name, eosIds }: GgufExportOptions): Map<string, GgufField> {
  const { config, generationConfig } = base;
  const { ropeScaling } = config;
  return new Map<string, GgufField>([
    ["general.architecture", ["string", "llama"]],
    ["general.type", ["string", "model"]],
    ["general.name", ["string", nameForTokens(name, addedTokens(base.tokenizer))]],
    ["general.file_type", ["u32", FILE_TYPES[type]]],
    ["general.quantization_version", ["u32", 2]],
    ["llama.block_count", ["u32", config.numHiddenLayers]],
    ["llama.context_length", ["u32", config.maxPositionEmbeddings]],
    ["llama.embedding_length", ["u32", config.hiddenSize]],
    ["llama.feed_forward_length", ["u32", config.intermediateSize]],
    ["llama.attention.head_count", ["u32", config.numAttentionHeads]],
    ["llama.attention.head_count_kv", ["u32", config.numKeyValueHeads]],
    ["llama.attention.key_length", ["u32", config.headDim]],
    ["llama.attention.value_length", ["u32", config.headDim]],
    ["llama.attention.layer_norm_rms_epsilon", ["f32", config.rmsNormEps]],
    ["llama.rope.dimension_count", ["u32", config.headDim]],
    ["llama.rope.freq_base", ["f32", config.ropeTheta]],
    ["llama.vocab_size", ["u32", config.vocabSize]],
    ...(ropeScaling?.type === "linear"
      ? ([
          ["llama.rope.scaling.type", ["string", "linear"]],
          ["llama.rope.scaling.factor", ["f32", ropeScaling.factor]],
        ] as const)
      : []),
    ...(ropeScaling?.type === "llama3"
      ? ([["llama.rope.scaling.original_context_length", ["u32", ropeScaling.originalMaxPositionEmbeddings]]] as const)
      : []),
    ...ggufTokenizer(base.tokenizer, {
      vocabSize: config.vocabSize,
      eosIds: eosIds ?? generationConfig.eosIds,
      ...(generationConfig.bosId === undefined ? {} : { bosId: generationConfig.bosId }),
    }),
  ]);
}

/** Llama 3's frequency factors, a tensor of their own. */
function ropeFactors(config: LlamaConfig): GgufTensorToWrite | undefined {
  const { ropeScaling: scaling, headDim, ropeTheta } = config;
  if (scaling?.type !== "llama3") return undefined;
  const factors = Float32Array.from(llama3Factors(scaling, headDim, ropeTheta));
  return {
    name: ROPE_FREQS,
    shape: [factors.length],
    type: "f32",
    chunks: () => [new Uint8Array(factors.buffer)],
  };
}
