import type { Files } from "../formats/files.js";
import { writeGgufConfig } from "../formats/gguf/config.js";
import { ggufName, normOffset, rowOrder } from "../formats/gguf/names.js";
import type { RopeTensors } from "../formats/gguf/rope.js";
import { addedTokens, ggufTokenizer } from "../formats/gguf/write-tokenizer.js";
import { type GgufField, type GgufTensorToWrite, writeGgufParts } from "../formats/gguf/writer.js";
import type { Adapter } from "../formats/peft/adapter.js";
import { nameForTokens } from "../formats/token-stripping.js";
import { familyOf, type ModelConfig, parseBlockPath, weightShapes } from "../models/index.js";
import { encodeValues, fittingType, type GgufWeightType } from "../tensor/codecs/quants-encode.js";
import { asBytes, sizeOf } from "../tensor/index.js";
import type { OpenModel } from "../weights/model-folder.js";
import { mergeWeight, refuseLostBiases } from "./merge.js";

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
 * its order, factors of rotary frequencies as tensors, no output tensor where the head is tied. Whole or not at all;
 * memory is the largest tensor in fp32 and a chunk. Returns the path to be opened: `path`, or that of the first part. Throws
 * UserError when llama.cpp has no equal of the tokenizer, or cannot run the model.
 */
export async function exportGguf(
  files: Files,
  base: OpenModel,
  adapter: Adapter | undefined,
  path: string,
  options: GgufExportOptions,
): Promise<string> {
  const { config } = base;
  refuseLostBiases(adapter, config);
  const weights = weightShapes(config);
  const model = writeGgufConfig(config, weights);
  const shapes = [...weights];
  let done = 0;
  const tensors = shapes.map(([name, shape]) => {
    const type = ggufTypeOf(name, shape, options.type);
    const finished = () => options.onTensor?.(++done, shapes.length, name);
    return weightTensor(base, adapter, name, shape, type, finished);
  });
  const all = [...ropeFactors(model.ropeTensors), ...tensors];
  const { splitMaxSize = Number.POSITIVE_INFINITY } = options;
  return writeGgufParts(files, path, modelMetadata(base, model.metadata, options), all, splitMaxSize);
}

/**
 * How a weight is stored in a file of `type`: vectors stay fp32; at four bits the embedding and the head get more; rows that
 * are no whole number of blocks get the next type that fits.
 */
export function ggufTypeOf(name: string, shape: readonly number[], type: GgufWeightType): GgufWeightType {
  if (shape.length === 1) return "f32";
  const outer = !parseBlockPath(name);
  return fittingType((outer ? OUTER_TYPES[type] : undefined) ?? type, shape[1]!);
}

/** fp32 values of a weight with the adapter merged in, rows in Hugging Face's order. */
export async function mergedValues(base: OpenModel, adapter: Adapter | undefined, name: string): Promise<Float32Array> {
  const values = await base.tensors.read(name);
  if (adapter) await mergeWeight(name, values, adapter);
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
    name: ggufName(name, base.config),
    shape,
    type,
    async *chunks() {
      const values = await mergedValues(base, adapter, name);
      const above = normOffset(name, shape, base.config);
      yield* encodedRows(name, above === 0 ? values : values.map((value) => value + above), shape, type, base.config);
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
  config: ModelConfig,
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

function modelMetadata(
  base: OpenModel,
  model: ReadonlyMap<string, GgufField>,
  { type, name, eosIds }: GgufExportOptions,
): Map<string, GgufField> {
  const { config, generationConfig } = base;
  return new Map<string, GgufField>([
    ["general.architecture", ["string", familyOf(config).gguf.architecture]],
    ["general.type", ["string", "model"]],
    ["general.name", ["string", nameForTokens(name, addedTokens(base.tokenizer))]],
    ["general.file_type", ["u32", FILE_TYPES[type]]],
    ["general.quantization_version", ["u32", 2]],
    ...model,
    ...ggufTokenizer(base.tokenizer, {
      vocabSize: config.vocabSize,
      eosIds: eosIds ?? generationConfig.eosIds,
      ...(generationConfig.bosId === undefined ? {} : { bosId: generationConfig.bosId }),
    }),
  ]);
}

/** Factors of rotary frequencies, tensors of their own. */
const ropeFactors = (tensors: RopeTensors): GgufTensorToWrite[] =>
  [...tensors].map(([name, values]) => ({
    name,
    shape: [values.length],
    type: "f32",
    chunks: () => [asBytes(values)],
  }));
