import { NF4_BLOCK, NF4_BYTES } from "./nf4.js";

/**
 * NF4 with its scales quantised too (Dettmers et al. 2023, QLoRA, section 3), as bitsandbytes' `compress_statistics`: a tensor's
 * mean scale is taken off, and what is left is stored in 8 bits with a float32 for 256 scales. A group of 256 blocks, or what is
 * left of them at the end: mean as float32, the group's largest magnitude as float32, a byte a block, then the blocks' codes.
 */
export const DOUBLE_GROUP = { blocks: 256, bytes: 8 } as const;
/** A block: a byte for its scale, and its codes. */
export const DOUBLE_BYTES = 1 + NF4_BLOCK / 2;
const CODE_BYTES = NF4_BLOCK / 2;

/**
 * The 256 values of bitsandbytes' signed dynamic 8-bit map (`create_dynamic_map`; Dettmers 2016, 8-Bit Approximations for Parallelism
 * in Deep Learning): seven powers of ten, each with twice as many steps as the one before.
 */
export const DYNAMIC_MAP: Float32Array = dynamicMap();

function dynamicMap(): Float32Array {
  const least = Math.fround(0.1);
  const values = [0, 1];
  for (let exponent = 0; exponent < 7; exponent++) {
    const count = 2 ** exponent;
    const step = Math.fround((1 - least) / count);
    // As torch.linspace: from both ends to the middle.
    const bound = (i: number) => Math.fround(i < (count + 1) / 2 ? least + step * i : 1 - step * (count - i));
    for (let i = 0; i < count; i++) {
      const middle = Math.fround(Math.fround(bound(i) + bound(i + 1)) / 2);
      const value = Math.fround(Math.fround(10 ** (exponent - 6)) * middle);
      values.push(value, -value);
    }
  }
  return Float32Array.from(values).sort();
}

const STEPS = 65535;
let codes: Uint8Array | undefined;

/** The code nearest to each of 65,536 values from -1 to 1: what bitsandbytes looks codes up in on the CPU. */
function nearestCodes(): Uint8Array {
  const table = new Uint8Array(STEPS + 1);
  for (let i = 0, code = 0; i <= STEPS; i++) {
    const x = Math.fround((2 * i) / STEPS - 1);
    const apart = (c: number) => Math.abs(Math.fround(x - DYNAMIC_MAP[c]!));
    while (code < 255 && apart(code + 1) < apart(code)) code++;
    table[i] = code;
  }
  return table;
}

/** What is subtracted from every scale of a tensor: their mean, added up in float64 (torch adds up in float32: its last bit may differ). */
export function meanScale(nf4: Uint8Array): number {
  const view = new DataView(nf4.buffer, nf4.byteOffset);
  let sum = 0;
  for (let at = 0; at < nf4.length; at += NF4_BYTES) sum += view.getFloat32(at, true);
  return Math.fround((sum * NF4_BYTES) / nf4.length);
}

/**
 * Whole groups of `nf4` blocks, or a tensor's last ones, with their scales in 8 bits: bit for bit as bitsandbytes' on the CPU for
 * the same `mean`.
 */
export function quantizeScales(nf4: Uint8Array, mean: number): Uint8Array<ArrayBuffer> {
  const blocks = nf4.length / NF4_BYTES;
  const out = new Uint8Array(Math.ceil(blocks / DOUBLE_GROUP.blocks) * DOUBLE_GROUP.bytes + blocks * DOUBLE_BYTES);
  const [from, to] = [new DataView(nf4.buffer, nf4.byteOffset), new DataView(out.buffer)];
  const rest = new Float32Array(DOUBLE_GROUP.blocks);
  codes ??= nearestCodes();
  for (let first = 0, at = 0; first < blocks; first += DOUBLE_GROUP.blocks) {
    const count = Math.min(DOUBLE_GROUP.blocks, blocks - first);
    let most = 0;
    for (let i = 0; i < count; i++) {
      rest[i] = from.getFloat32((first + i) * NF4_BYTES, true) - mean;
      most = Math.max(most, Math.abs(rest[i]!));
    }
    to.setFloat32(at, mean, true);
    to.setFloat32(at + 4, most, true);
    at += DOUBLE_GROUP.bytes;
    const inverse = Math.fround(1 / most);
    for (let i = 0; i < count; i++) {
      const above = Math.fround(Math.fround(rest[i]! * inverse) + 1);
      out[at + i] = codes[Math.trunc(Math.fround(Math.fround(above * (STEPS / 2)) + 0.5))] ?? 0; // 0 / 0: all scales are the mean
    }
    at += count;
    for (let i = 0; i < count; i++, at += CODE_BYTES)
      out.set(nf4.subarray((first + i) * NF4_BYTES + 4, (first + i + 1) * NF4_BYTES), at);
  }
  return out;
}

/** Fills `scales` with those of the group of `count` blocks that begins at byte `at`. */
export function readScales(source: Uint8Array, at: number, count: number, scales: Float32Array): void {
  const view = new DataView(source.buffer, source.byteOffset + at);
  const [mean, most] = [view.getFloat32(0, true), view.getFloat32(4, true)];
  const first = at + DOUBLE_GROUP.bytes;
  for (let i = 0; i < count; i++) scales[i] = Math.fround(DYNAMIC_MAP[source[first + i]!]! * most) + mean;
}
