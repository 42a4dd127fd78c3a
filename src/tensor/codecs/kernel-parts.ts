import { type Code, FROM, get, LOCALS, load16u, set, TO, v } from "../wasm.js";

/** What kernels have in common. */
export const from = get(FROM);
export const to = get(TO);
export const local = (i: number): number => LOCALS + i;
export const words = (word: number): Code => v.constant(new Uint8Array(Uint32Array.of(word, word, word, word).buffer));

/** float16 bits in 32-bit lanes, of local `x`, to float32: subnormal and infinite values too. Uses local `x` + 1. */
export function widenHalf(bits: Code, x: number): Code {
  const magnitude = v.and(get(x), words(0x7fff));
  const infinite = v.and(v.geU32(get(x + 1), words(0x7c00 << 13)), words(0x7f800000));
  const sign = v.shl32(v.and(get(x), words(0x8000)), 16);
  return [
    ...set(x, bits),
    ...set(x + 1, v.shl32(magnitude, 13)),
    ...v.or(v.or(v.mul(get(x + 1), words(0x77800000)), infinite), sign), // times 2^112
  ];
}

/** One float16 scale at `offset` of the block, in all lanes. */
export const halfScale = (offset: number, x: number): Code => widenHalf(v.splat32(load16u(from, offset)), x);

/** Four vectors of float32 out of sixteen signed bytes in local `x`. */
export const floats = (x: number): Code[] =>
  [v.lowS16, v.highS16].flatMap((half) => [v.lowS32, v.highS32].map((quarter) => v.toFloat(quarter(half(get(x))))));

export const stores = (values: readonly Code[], first: number): Code =>
  values.flatMap((value, i) => v.store(to, first + 16 * i, value));
