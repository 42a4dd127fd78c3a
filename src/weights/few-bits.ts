import { CODECS, f16Value } from "../tensor/index.js";

/** A weight [out, in] in few bits as `matmulBits` reads it: blocks of 32 values, each with a scale and a zero point. */
export interface FewBits {
  /** [out, in / 32, 4 bits] */
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  readonly zeros: Uint8Array;
}

export type Bits = 4 | 8;

const BLOCK = 32;

/** Writes the codes of the block that begins at value `at`, and returns its scale; `zero` is the code of 0. */
type Rounding = (
  values: Float32Array,
  at: number,
  codes: Uint8Array,
) => { readonly scale: number; readonly zero: number };

/**
 * Rounds a weight [out, in] to blocks of few bits. 8 bits: symmetric, the largest magnitude at 127, as ggml's Q8_0 but with an fp32
 * scale. 4 bits: from the least to the largest value, 0 among the codes, with the scale that leaves the least square error.
 */
export function roundedToBits(values: Float32Array, shape: readonly [number, number], bits: Bits): FewBits {
  const round = ROUNDINGS[bits];
  return eachBlock(shape, bits, (block, codes) => round(values, block * BLOCK, codes));
}

/**
 * A weight out of the very blocks of a GGUF file, which are then held exactly: Q8_0 in 8 bits, Q4_0 in 8 or 4. Undefined for
 * other types: their blocks have offsets, or scales of other lengths.
 */
export function bitsAsStored(
  stored: string,
  raw: Uint8Array,
  shape: readonly [number, number],
  bits: Bits,
): FewBits | undefined {
  if (stored !== "q4_0" && !(stored === "q8_0" && bits === 8)) return undefined;
  const zero = 2 ** (bits - 1);
  const { bytes } = CODECS[stored];
  return eachBlock(shape, bits, (block, codes) => {
    const at = block * bytes;
    for (let i = 0; i < BLOCK; i++) {
      const signed =
        stored === "q8_0"
          ? (raw[at + 2 + i]! << 24) >> 24
          : ((i < 16 ? raw[at + 2 + i]! : raw[at + 2 + i - 16]! >> 4) & 15) - 8;
      codes[i] = zero + signed;
    }
    return { scale: f16Value(raw[at]! | (raw[at + 1]! << 8)), zero };
  });
}

/** The values [out, in] of a weight in few bits. */
export function valuesOfBits(
  { codes, scales, zeros }: FewBits,
  [out, input]: readonly [number, number],
  bits: Bits,
): Float32Array {
  const blocks = input / BLOCK;
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const values = new Float32Array(out * input);
  const code = (of: Uint8Array, start: number, i: number): number =>
    bits === 8 ? of[start + i]! : (of[start + (i >> 1)]! >> (4 * (i & 1))) & 15;
  for (let block = 0; block < out * blocks; block++) {
    const row = Math.floor(block / blocks);
    const zero = code(zeros, row * zeroBytes, block - row * blocks);
    for (let i = 0; i < BLOCK; i++)
      values[block * BLOCK + i] = scales[block]! * (code(codes, block * 4 * bits, i) - zero);
  }
  return values;
}

/** Fills the three parts block by block. In 4 bits, codes and a row's zero points lie in pairs, the first in the low half. */
function eachBlock(
  [out, input]: readonly [number, number],
  bits: Bits,
  fill: (block: number, own: Uint8Array) => { readonly scale: number; readonly zero: number },
): FewBits {
  const blocks = input / BLOCK;
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  const codes = new Uint8Array(out * blocks * 4 * bits);
  const [scales, zeros] = [new Float32Array(out * blocks), new Uint8Array(out * zeroBytes)];
  const own = new Uint8Array(BLOCK);
  for (let row = 0, block = 0; row < out; row++) {
    for (let column = 0; column < blocks; column++, block++) {
      const { scale, zero } = fill(block, own);
      scales[block] = scale;
      if (bits === 8) {
        zeros[row * zeroBytes + column] = zero;
        codes.set(own, block * BLOCK);
      } else {
        zeros[row * zeroBytes + (column >> 1)]! |= zero << (4 * (column & 1));
        for (let i = 0, to = block * 16; i < BLOCK; i += 2) codes[to++] = own[i]! | (own[i + 1]! << 4);
      }
    }
  }
  return { codes, scales, zeros };
}

const ROUNDINGS: Readonly<Record<Bits, Rounding>> = {
  8: (values, at, codes) => {
    let most = 0;
    for (let i = at; i < at + BLOCK; i++) most = Math.max(most, Math.abs(values[i]!));
    const scale = Math.fround(most / 127);
    const inverse = most > 0 ? 127 / most : 0;
    for (let i = 0; i < BLOCK; i++) codes[i] = 128.5 + values[at + i]! * inverse;
    return { scale, zero: 128 };
  },
  4: (values, at, codes) => {
    let [low, high] = [0, 0];
    for (let i = at; i < at + BLOCK; i++) {
      low = Math.min(low, values[i]!);
      high = Math.max(high, values[i]!);
    }
    const range = high - low;
    if (!(range > 0)) return { scale: 0, zero: 0 };
    const zero = Math.floor((-low * 15) / range + 0.5);
    let [products, squares] = [0, 0];
    for (let i = at; i < at + BLOCK; i++) {
      const steps = nearest((values[i]! * 15) / range, zero) - zero;
      products += steps * values[i]!;
      squares += steps * steps;
    }
    const scale = Math.fround(products / squares);
    for (let i = 0; i < BLOCK; i++) codes[i] = nearest(values[at + i]! / scale, zero);
    return { scale, zero };
  },
};

const nearest = (steps: number, zero: number): number => {
  const code = Math.floor(steps + zero + 0.5);
  return code < 0 ? 0 : code > 15 ? 15 : code;
};
