import type { LlamaConfig } from "../models/index.js";
import { ARRAYS, type HostTensor, type TypedArray, UserError } from "../tensor/index.js";
import type { OnnxFile, Platform } from "./platform.js";

/**
 * Logits after every token by the exported file itself: the first half of the tokens at once, the rest through the cache that
 * comes back. Throws UserError when the platform runs no such files.
 */
export async function onnxLogits(
  path: string,
  config: LlamaConfig,
  ids: readonly number[],
  { openOnnx }: Platform,
): Promise<Float32Array> {
  if (!openOnnx) throw new UserError(`${path}: nothing here runs ONNX files, so it cannot be checked; use --no-run`);
  const file = await openOnnx(path);
  try {
    const half = Math.ceil(ids.length / 2);
    const first = await file.run(inputs(file, config, ids.slice(0, half), 0));
    const logits = new Float32Array(ids.length * config.vocabSize);
    logits.set(first.logits!.data as Float32Array);
    if (half < ids.length) {
      const second = await file.run({ ...inputs(file, config, ids.slice(half), half), ...past(first) });
      logits.set(second.logits!.data as Float32Array, half * config.vocabSize);
    }
    return logits;
  } finally {
    await file.close();
  }
}

const long = (values: readonly number[]): HostTensor => ({
  dtype: "i64",
  shape: [1, values.length],
  data: BigInt64Array.from(values, BigInt),
});

/** A step's inputs, the cache empty. */
function inputs(
  file: OnnxFile,
  config: LlamaConfig,
  ids: readonly number[],
  start: number,
): Record<string, HostTensor> {
  const shape = [1, config.numKeyValueHeads, 0, config.headDim];
  const empty = Object.entries(file.inputs)
    .filter(([name]) => name.startsWith("past_key_values."))
    .map(([name, dtype]) => [name, { dtype, shape, data: new ARRAYS[dtype](0) as TypedArray }] as const);
  return {
    input_ids: long(ids),
    attention_mask: long(new Array<number>(start + ids.length).fill(1)),
    position_ids: long(ids.map((_, i) => start + i)),
    ...Object.fromEntries(empty),
  };
}

const past = (results: Readonly<Record<string, HostTensor>>): Record<string, HostTensor> =>
  Object.fromEntries(
    Object.entries(results)
      .filter(([name]) => name.startsWith("present."))
      .map(([name, value]) => [name.replace("present.", "past_key_values."), value]),
  );
