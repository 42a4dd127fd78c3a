import { headWeight, type ModelConfig, parseBlockPath, weightShapes } from "../models/index.js";
import { encodeBlocks } from "../tensor/codecs/encode-kernels.js";
import { meanScale, quantizeScales } from "../tensor/codecs/nf4-double.js";
import { encodeValues, type GgufWeightType } from "../tensor/codecs/quants-encode.js";
import { blockBytes, CODECS, type CodecName, codecOf, type Shape, sizeOf, UserError } from "../tensor/index.js";

/** How the frozen matrices of a base are held in memory: linear layers, and the tables (embedding and head). */
const STORAGE = {
  f32: { linear: "f32", table: "f32" },
  f16: { linear: "f16", table: "f16" },
  bf16: { linear: "bf16", table: "bf16" },
  int8: { linear: "q8_0", table: "q8_0" },
  nf4: { linear: "nf4", table: "q8_0" },
  nf4_dq: { linear: "nf4_dq", table: "q8_0" },
} as const satisfies Readonly<Record<string, { linear: CodecName; table: CodecName }>>;

/**
 * How a frozen base is held: as fp32; as float16 (2 bytes a weight); int8, ggml's Q8_0 (8 bits with a float16 scale for 32, 1.06
 * bytes); nf4, bitsandbytes' NF4 (4 bits with a float32 scale for 64, 0.56 bytes), its embedding and head as int8; or
 * native, as its file stores it.
 */
export const BASE_PRECISIONS = ["f32", "f16", "int8", "nf4", "native"] as const;
export type BasePrecision = (typeof BASE_PRECISIONS)[number];
/** The same; bfloat16, which computing in bf16 reads as it is; and nf4 with double quantisation (0.52 bytes). */
export type HeldPrecision = BasePrecision | "bf16" | "nf4_dq";

/**
 * How a base is held: one that would be fp32 is bfloat16 where a run computes in that, nf4 has its scales quantised where asked.
 * Throws UserError for double quantisation of anything else.
 */
export function heldAs(precision: BasePrecision, computes: "f32" | "bf16", doubleQuant = false): HeldPrecision {
  if (doubleQuant && precision !== "nf4")
    throw new UserError(`bnb_4bit_use_double_quant goes with base_precision nf4, not ${precision}`);
  if (doubleQuant) return "nf4_dq";
  return precision === "f32" && computes === "bf16" ? "bf16" : precision;
}

/** What a tensor is held as. Norms and biases stay fp32; rows that are no whole number of blocks become float16. */
export function storageOf(precision: HeldPrecision, name: string, shape: Shape, stored: string): CodecName {
  if (shape.length < 2 || precision === "f32") return "f32";
  if (precision === "native") {
    if (codecOf(stored)) return stored as CodecName;
    throw new UserError(`base_precision native: ${name} is stored as ${stored}, which has no fp32 values`);
  }
  const kind = STORAGE[precision][/\.(embed_tokens|lm_head)\./.test(`.${name}`) ? "table" : "linear"];
  const unit = kind.startsWith("nf4") ? sizeOf(shape) : shape.at(-1)!; // bitsandbytes' blocks run on over the ends of rows
  return unit % CODECS[kind].block === 0 ? kind : "f16";
}

/** Encodes fp32 values, of nf4_dq a whole tensor's. Throws UserError naming the tensor for values that the type cannot hold. */
export function encodeStored(name: string, type: CodecName, values: Float32Array): Uint8Array {
  if (type === "nf4_dq") {
    const nf4 = encodeStored(name, "nf4", values);
    return quantizeScales(nf4, meanScale(nf4));
  }
  if (type !== "nf4") return encodeValues(name, type as GgufWeightType, values);
  const encoded = encodeBlocks("nf4", values);
  const scales = new DataView(encoded.buffer);
  for (let at = 0; at < encoded.length; at += CODECS.nf4.bytes) {
    const scale = scales.getFloat32(at, true);
    if (!Number.isFinite(scale)) throw new UserError(`${name}: ${scale} cannot be stored as nf4; f32 holds any value`);
  }
  return encoded;
}

/** Bytes that a held base takes, and the most that it takes decoded beside that: one block and the head. */
export interface BaseMemory {
  readonly weights: number;
  readonly decoded: number;
}

/**
 * Bytes of a base that is held in `precision`, by its shapes alone; `stored` says how the file has each tensor. With `offload`
 * what a step reads from the file: two blocks, the one in use and the next, or the head. `reads`: the weights that are there. Throws UserError for an offloaded base of
 * another precision than its file's.
 */
export function baseMemory(
  config: ModelConfig,
  precision: HeldPrecision,
  stored: (name: string) => string,
  offload = false,
  reads: (name: string) => boolean = () => true,
): BaseMemory {
  if (offload && !["f32", "bf16", "native"].includes(precision)) {
    throw new UserError(
      `base_offload disk uses the weights as their file stores them: base_precision can be f32 or native, not ${precision}`,
    );
  }
  const head = headWeight(config);
  const sum = { all: 0, small: 0, head: 0, block: 0, decodedHead: 0, decodedBlock: 0 };
  for (const [name, shape] of weightShapes(config)) {
    const type = storageOf(offload ? "native" : precision, name, shape, stored(name));
    const inPlace = (type === "f32" || precision === "bf16") && !(offload && shape.length > 1);
    const bytes = blockBytes(CODECS[type], sizeOf(shape) / CODECS[type].block);
    const isRead = reads(name);
    if (isRead) sum.all += bytes;
    if (isRead && shape.length < 2) sum.small += bytes;
    if (inPlace) continue;
    if (name === head && isRead) [sum.head, sum.decodedHead] = [bytes, sizeOf(shape) * 4];
    if (parseBlockPath(name)?.layer === 0) {
      sum.block += bytes;
      sum.decodedBlock += sizeOf(shape) * 4;
    }
  }
  const decoded = sum.decodedBlock + sum.decodedHead;
  return { weights: offload ? sum.small + Math.max(2 * sum.block, sum.block + sum.head) : sum.all, decoded };
}
