import { type Files, join, writeFolder } from "../formats/files.js";
import { type JsonObject, jsonBytes, readObject } from "../formats/json.js";
import type { Adapter } from "../formats/peft/adapter.js";
import { narrowed } from "../formats/safetensors-writer.js";
import { writeTokenizer } from "../formats/tokenizer-files.js";
import { weightShapes } from "../models/config.js";
import { modelFiles, type StreamedTensor, type TensorPlace, tensorPlaces } from "../onnx/index.js";
import { CODECS } from "../tensor/codecs/quants.js";
import { encodeValues } from "../tensor/codecs/quants-encode.js";
import { f16ToF32, sizeOf } from "../tensor/index.js";
import type { OpenModel } from "../weights/model-folder.js";
import { mergedValues } from "./gguf.js";
import { generationConfig, hfConfig, refuseLostBiases } from "./merge.js";
import { ONNX_BLOCK, type OnnxType, onnxModel, onnxTypeOf, q4Names } from "./onnx-graph.js";

/** A type's name in transformers.js's `dtype` option, and the file that stands for it. */
const ONNX_FILES: Readonly<Record<OnnxType, { readonly dtype: string; readonly file: string }>> = {
  f32: { dtype: "fp32", file: "model.onnx" },
  f16: { dtype: "fp16", file: "model_fp16.onnx" },
  q4_0: { dtype: "q4", file: "model_q4.onnx" },
};

export interface OnnxExportOptions {
  /** What is written; the first is what transformers.js loads unless it is told another. */
  readonly types: readonly OnnxType[];
  /** Bytes after which weights go into files of their own. Default 2e9. */
  readonly maxFileBytes?: number;
}

/**
 * Writes base + adapter (W + scale B A) as the folder that transformers.js's `pipeline("text-generation")` loads: config.json,
 * generation_config.json, the tokenizer with its template, and `onnx/` with one model a type. Whole or not at all; memory
 * is the largest tensor in fp32 and a chunk. Throws UserError for values that a type cannot hold.
 */
export async function exportOnnx(
  files: Files,
  base: OpenModel,
  adapter: Adapter | undefined,
  output: string,
  { types, maxFileBytes }: OnnxExportOptions,
): Promise<void> {
  refuseLostBiases(adapter, base.config);
  await writeFolder(files, output, async (folder) => {
    await files.makeFolder(join(folder, "onnx"));
    const pieces: Record<string, number> = {};
    for (const type of types) {
      const { file } = ONNX_FILES[type];
      const written = modelFiles(file, onnxModel(base.config, type), weightsOf(base, adapter, type), maxFileBytes);
      for (const { name, content } of written) await files.write(join(folder, "onnx", name), content);
      if (written.length > 1) pieces[file] = written.length - 1;
    }
    const config: JsonObject = {
      ...hfConfig(base, "f32"),
      // Always said: transformers.js needs it where it cannot be derived.
      head_dim: base.config.headDim,
      "transformers.js_config": {
        dtype: ONNX_FILES[types[0]!].dtype,
        kv_cache_dtype: { fp16: "float16" },
        ...(Object.keys(pieces).length > 0 ? { use_external_data_format: pieces } : {}),
      },
    };
    await files.write(join(folder, "config.json"), jsonBytes(config));
    await files.write(join(folder, "generation_config.json"), jsonBytes(base.generationJson ?? generationConfig(base)));
    // Written anew, with the template in tokenizer_config.json, where every version of transformers.js looks.
    await writeTokenizer(files, folder, { ...base.tokenizer, originals: undefined });
  });
}

/** Takes the model of one type out of a folder that `exportOnnx` wrote. */
export async function removeOnnxType(files: Files, folder: string, type: OnnxType): Promise<void> {
  const { file } = ONNX_FILES[type];
  const names = await files.list(join(folder, "onnx"));
  for (const name of names) {
    if (name === file || name.startsWith(`${file}_data`)) await files.remove(join(folder, "onnx", name));
  }
  const path = join(folder, "config.json");
  const config = (await readObject(files, path))!;
  const { use_external_data_format: pieces, ...rest } = config["transformers.js_config"] as JsonObject;
  const left = Object.entries((pieces ?? {}) as JsonObject).filter(([name]) => name !== file);
  const settings = left.length > 0 ? { ...rest, use_external_data_format: Object.fromEntries(left) } : rest;
  await files.write(path, jsonBytes({ ...config, "transformers.js_config": settings }));
}

/** Where the weights of a type lie in the folder's `onnx/`, as `exportOnnx` wrote it with the same limit. */
export function onnxPlaces(base: OpenModel, type: OnnxType, maxFileBytes?: number): TensorPlace[] {
  const weights = weightsOf(base, undefined, type);
  return tensorPlaces(ONNX_FILES[type].file, onnxModel(base.config, type), weights, maxFileBytes);
}

function weightsOf(base: OpenModel, adapter: Adapter | undefined, type: OnnxType): StreamedTensor[] {
  return [...weightShapes(base.config)].flatMap(([name, shape]): StreamedTensor[] => {
    const dtype = onnxTypeOf(name, shape, type);
    if (dtype === "q4_0") return fourBit(base, adapter, name, shape);
    const bytes = sizeOf(shape) * (dtype === "f32" ? 4 : 2);
    const chunks = async function* () {
      yield* narrowed(name, await mergedValues(base, adapter, name), dtype);
    };
    return [{ name, dtype, shape, bytes, chunks }];
  });
}

/** Values encoded at a time. */
const CHUNK_VALUES = 2 ** 19;

/**
 * A matrix as MatMulNBits reads it: ggml's q4_0, (q - 8) scale, which is its rule without zero points. Scales apart, and a
 * block's values in order, two a byte, where ggml has the first half in the low bits.
 */
function fourBit(
  base: OpenModel,
  adapter: Adapter | undefined,
  name: string,
  shape: readonly number[],
): StreamedTensor[] {
  const names = q4Names(name);
  const count = sizeOf(shape) / ONNX_BLOCK;
  const [out, width] = shape as [number, number];
  let kept: Uint8Array | undefined;
  const values = {
    name: names.values,
    dtype: "u8" as const,
    shape: [out, width / ONNX_BLOCK, ONNX_BLOCK / 2],
    bytes: count * (ONNX_BLOCK / 2),
    async *chunks() {
      kept = new Uint8Array(count * CODECS.q4_0.bytes);
      const from = await mergedValues(base, adapter, name);
      for (let at = 0; at < from.length; at += CHUNK_VALUES) {
        const blocks = encodeValues(name, "q4_0", from.subarray(at, at + CHUNK_VALUES));
        kept.set(blocks, (at / ONNX_BLOCK) * CODECS.q4_0.bytes);
        yield matMulOrder(blocks);
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    },
  };
  const scales = {
    name: names.scales,
    dtype: "f32" as const,
    shape: [out, width / ONNX_BLOCK],
    bytes: count * 4,
    chunks() {
      const found = new Float32Array(count);
      scalesOf(kept!, found);
      kept = undefined;
      return [new Uint8Array(found.buffer)];
    },
  };
  return [values, scales];
}

function matMulOrder(blocks: Uint8Array): Uint8Array {
  const { bytes } = CODECS.q4_0;
  const out = new Uint8Array((blocks.length / bytes) * 16);
  for (let p = 2, o = 0; p < blocks.length; p += bytes, o += 16) {
    for (let i = 0; i < 8; i++) {
      const [a, b] = [blocks[p + 2 * i]!, blocks[p + 2 * i + 1]!];
      out[o + i] = (a & 15) | ((b & 15) << 4);
      out[o + 8 + i] = (a >> 4) | (b & 240);
    }
  }
  return out;
}

function scalesOf(blocks: Uint8Array, into: Float32Array): void {
  const { bytes } = CODECS.q4_0;
  const bits = Uint16Array.from(into, (_, i) => blocks[i * bytes]! | (blocks[i * bytes + 1]! << 8));
  into.set(f16ToF32(bits));
}
