import { type Files, join } from "../formats/files.js";
import type { ModelConfig } from "../models/index.js";
import { encodeWithPlaces } from "../onnx/index.js";
import type { OnnxFile, Platform } from "../platform/platform.js";
import { ARRAYS, type HostTensor, type TypedArray, UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import type { OpenModel } from "../weights/model-folder.js";
import { onnxPlaces } from "./onnx.js";
import { type OnnxType, onnxPieces } from "./onnx-graph.js";

type Values = Readonly<Record<string, HostTensor>>;

/**
 * Logits after every token by the exported weights, where they lie in `folder`, and the exported nodes on ONNX Runtime: block
 * after block, so that only one is in memory. The first half of the tokens is run at once, the rest through the
 * cache. Throws UserError when the platform runs no ONNX files.
 */
export async function onnxLogits(
  folder: string,
  base: OpenModel,
  type: OnnxType,
  ids: readonly number[],
  { files, openOnnx }: Platform,
): Promise<Float32Array> {
  if (!openOnnx)
    throw new UserError(
      `${folder}: nothing here runs ONNX files, so it cannot be checked; use ${option("run", false)}`,
    );
  const places = new Map(onnxPlaces(base, type).map((place) => [place.tensor.name, place]));
  const half = Math.ceil(ids.length / 2);
  let steps = [inputs(ids.slice(0, half), 0), inputs(ids.slice(half), half)].slice(0, ids.length > half ? 2 : 1);
  for (const piece of onnxPieces(base.config, type)) {
    const weights = [...new Set(piece.nodes.flatMap((node) => node.inputs))].flatMap((name) => places.get(name) ?? []);
    const bytes = encodeWithPlaces(piece, weights);
    steps = await withFile(files, folder, bytes, openOnnx, (file) => advanced(file, base.config, steps));
  }
  const logits = steps.map((step) => step.logits!.data as Float32Array);
  const all = new Float32Array(ids.length * base.config.vocabSize);
  let at = 0;
  for (const part of logits) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Opens a model beside the weights that it reads, and removes it again. */
async function withFile<T>(
  files: Files,
  folder: string,
  bytes: Uint8Array,
  open: NonNullable<Platform["openOnnx"]>,
  use: (file: OnnxFile) => Promise<T>,
): Promise<T> {
  const path = join(folder, "piece.onnx");
  await files.write(path, bytes);
  try {
    const file = await open(path);
    try {
      return await use(file);
    } finally {
      await file.close();
    }
  } finally {
    await files.remove(path);
  }
}

/** Runs a piece on every step, each through the cache of the one before it. */
async function advanced(file: OnnxFile, config: ModelConfig, steps: readonly Values[]): Promise<Values[]> {
  const results: Values[] = [];
  let cache: Values = {};
  for (const step of steps) {
    const given = { ...empty(file, config), ...step, ...cache };
    const used = Object.keys(file.inputs).map((name) => [name, given[name]!] as const);
    const found = await file.run(Object.fromEntries(used));
    cache = past(found);
    const { next, logits } = found;
    results.push({ ...step, ...(next ? { hidden: next } : {}), ...(logits ? { logits } : {}) });
  }
  return results;
}

const long = (values: readonly number[]): HostTensor => ({
  dtype: "i64",
  shape: [1, values.length],
  data: BigInt64Array.from(values, BigInt),
});

const inputs = (ids: readonly number[], start: number): Values => ({
  input_ids: long(ids),
  attention_mask: long(new Array<number>(start + ids.length).fill(1)),
  position_ids: long(ids.map((_, i) => start + i)),
});

/** The caches that a piece reads, with nothing in them. */
function empty(file: OnnxFile, config: ModelConfig): Values {
  const shape = [1, config.numKeyValueHeads, 0, config.headDim];
  const names = Object.entries(file.inputs).filter(([name]) => name.startsWith("past_key_values."));
  return Object.fromEntries(
    names.map(([name, dtype]) => [name, { dtype, shape, data: new ARRAYS[dtype](0) as TypedArray }]),
  );
}

const past = (results: Values): Values =>
  Object.fromEntries(
    Object.entries(results)
      .filter(([name]) => name.startsWith("present."))
      .map(([name, value]) => [name.replace("present.", "past_key_values."), value]),
  );
