import { asBytes, f16Bits, f32ToBf16, f32ToF16, UserError } from "../index.js";
import { encodeBlocks } from "./encode-kernels.js";
import { CODECS, type Codec } from "./quants.js";
import { encodeQ4K, encodeQ6K } from "./quants-encode-k.js";

/** Storage types that values can be written in. */
export const GGUF_WEIGHT_TYPES = ["f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0", "q4_1"] as const;
export type GgufWeightType = (typeof GGUF_WEIGHT_TYPES)[number];

/** Gives a block's encoder (its values from `o`, to byte `p`) the shape of a whole encoder. */
function blocks(
  { block, bytes }: Pick<Codec, "block" | "bytes">,
  one: (x: Float32Array, o: number, out: Uint8Array, p: number) => void,
): (values: Float32Array) => Uint8Array {
  return (values) => {
    const count = values.length / block;
    const out = new Uint8Array(count * bytes);
    for (let i = 0; i < count; i++) one(values, i * block, out, i * bytes);
    return out;
  };
}

/** Writes the float16 nearest to a value. */
function putHalf(out: Uint8Array, p: number, value: number): void {
  const bits = f16Bits(value);
  out[p] = bits & 255;
  out[p + 1] = bits >> 8;
}

const { fround } = Math;
/** 1 / d in float32; 0 for a block of zeros. */
const inverse = (d: number): number => (d === 0 ? 0 : fround(1 / d));

/** C's (int8_t)(x + bias), at most 15. */
const nibble = (x: number, bias: number): number => Math.min(15, Math.trunc(fround(x + bias)));

const q4_0 = blocks(CODECS.q4_0, (x, o, out, p) => {
  let most = 0;
  for (let i = 0; i < 32; i++) if (Math.abs(x[o + i]!) > Math.abs(most)) most = x[o + i]!;
  const d = fround(most / -8);
  const id = inverse(d);
  putHalf(out, p, d);
  const q = (i: number) => nibble(fround(x[o + i]! * id), 8.5);
  for (let i = 0; i < 16; i++) out[p + 2 + i] = q(i) | (q(16 + i) << 4);
});

const q4_1 = blocks(CODECS.q4_1, (x, o, out, p) => {
  let [min, max] = [x[o]!, x[o]!];
  for (let i = 1; i < 32; i++) {
    min = Math.min(min, x[o + i]!);
    max = Math.max(max, x[o + i]!);
  }
  const d = fround(fround(max - min) / 15);
  const id = inverse(d);
  putHalf(out, p, d);
  putHalf(out, p + 2, min);
  const q = (i: number) => nibble(fround(fround(x[o + i]! - min) * id), 0.5);
  for (let i = 0; i < 16; i++) out[p + 4 + i] = q(i) | (q(16 + i) << 4);
});

/** ggml's reference quantisers (ggml-quants.c, `quantize_row_*_ref`), bit for bit: every step rounded to float32. */
const ENCODERS: Readonly<Record<GgufWeightType, (values: Float32Array) => Uint8Array>> = {
  f32: (values) => asBytes(values),
  f16: (values) => (values.length % 8 === 0 ? encodeBlocks("f16", values) : asBytes(f32ToF16(values))),
  bf16: (values) => asBytes(f32ToBf16(values)),
  q8_0: (values) => encodeBlocks("q8_0", values),
  q6_k: blocks(CODECS.q6_k, encodeQ6K),
  q4_k: blocks(CODECS.q4_k, encodeQ4K),
  q4_0,
  q4_1,
};

/** The largest magnitude each type can store: float16 holds the scale (or the value itself). */
const LIMITS: Readonly<Record<GgufWeightType, number>> = {
  f32: Number.MAX_VALUE,
  f16: 65504,
  bf16: Number.MAX_VALUE,
  q8_0: 65504 * 127,
  q6_k: 65504 * 63,
  q4_k: 65504 * 63,
  q4_0: 65504 * 8,
  q4_1: 65504,
};

/**
 * Encodes fp32 values, a whole number of blocks, as `type`; the result may share memory with `values` (f32). Throws UserError
 * naming the tensor for NaN, infinity and values that the type cannot hold.
 */
export function encodeValues(name: string, type: GgufWeightType, values: Float32Array): Uint8Array {
  const limit = LIMITS[type];
  for (let i = 0; i < values.length; i++) {
    if (Math.abs(values[i]!) <= limit) continue;
    throw new UserError(`${name}: ${values[i]} cannot be stored as ${type}; is the adapter sound? f32 holds any value`);
  }
  return ENCODERS[type](values);
}

/** `type` when rows of `width` values are a whole number of its blocks, else q8_0 for the K types' long blocks, else f16. */
export function fittingType(type: GgufWeightType, width: number): GgufWeightType {
  const choices: readonly GgufWeightType[] = CODECS[type].block > 32 ? [type, "q8_0"] : [type];
  return choices.find((choice) => width % CODECS[choice].block === 0) ?? "f16";
}
