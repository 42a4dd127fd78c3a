/**
 * The sixteen values of NF4 (Dettmers et al. 2023, QLoRA, appendix E): quantiles of a normal distribution, scaled to [-1, 1], as
 * float32 in bitsandbytes' code book.
 */
export const NF4_VALUES: readonly number[] = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
];

/** A block: its largest magnitude as float32, then a code of four bits a value, the first of two in the high half. */
export const NF4_BLOCK = 64;
export const NF4_BYTES = 4 + NF4_BLOCK / 2;

/** The upper end of each code's range, float32 values: midway between neighbours. */
const MIDDLES = Float64Array.from({ length: 15 }, (_, i) => (NF4_VALUES[i]! + NF4_VALUES[i + 1]!) / 2);

/** The code nearest to x in [-1, 1], by halving. */
function codeOf(x: number): number {
  let code = x > MIDDLES[7]! ? 8 : 0;
  if (x > MIDDLES[code + 3]!) code += 4;
  if (x > MIDDLES[code + 1]!) code += 2;
  return x > MIDDLES[code]! ? code + 1 : code;
}

/** Encodes fp32 values, a whole number of blocks, as bitsandbytes' `quantize_4bit(quant_type="nf4", blocksize=64)`. */
export function encodeNf4(values: Float32Array): Uint8Array<ArrayBuffer> {
  const { fround } = Math;
  const count = values.length / NF4_BLOCK;
  const out = new Uint8Array(count * NF4_BYTES);
  const scale = new DataView(out.buffer);
  for (let block = 0, o = 0, p = 0; block < count; block++) {
    let most = 0;
    for (let i = 0; i < NF4_BLOCK; i++) {
      const magnitude = Math.abs(values[o + i]!);
      if (magnitude > most) most = magnitude;
    }
    scale.setFloat32(p, most, true);
    const inverse = most === 0 ? 0 : fround(1 / most);
    for (let q = p + 4; q < p + NF4_BYTES; q++, o += 2) {
      out[q] = (codeOf(fround(values[o]! * inverse)) << 4) | codeOf(fround(values[o + 1]! * inverse));
    }
    p += NF4_BYTES;
  }
  return out;
}
