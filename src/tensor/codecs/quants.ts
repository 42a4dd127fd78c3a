import { f16Value } from "../half.js";
import { NF4_BLOCK, NF4_BYTES, NF4_VALUES } from "./nf4.js";
import { DOUBLE_BYTES, DOUBLE_GROUP, readScales } from "./nf4-double.js";

/**
 * How values of one storage type become fp32. Values are stored in blocks of `block` values that take `bytes` bytes;
 * a row is a whole number of blocks.
 */
export interface Codec {
  /** Values in a block. */
  readonly block: number;
  /** Bytes a block takes. */
  readonly bytes: number;
  /** Blocks that share bytes, which come before theirs. Decoding then begins where a group begins. */
  readonly group?: { readonly blocks: number; readonly bytes: number };
  /** Decodes `blocks` blocks of `source` from byte `from` on into `target` from value `to` on. */
  decode(source: Uint8Array, from: number, target: Float32Array, to: number, blocks: number): void;
}

const half = (s: Uint8Array, at: number): number => f16Value(s[at]! | (s[at + 1]! << 8));

/** Gives a block's decoder (one block at byte `p`, to value `o`) the shape of `Codec.decode`. */
function blocks(
  block: number,
  bytes: number,
  one: (s: Uint8Array, p: number, out: Float32Array, o: number) => void,
): Codec {
  return {
    block,
    bytes,
    decode(source, from, target, to, count) {
      for (let i = 0; i < count; i++) one(source, from + i * bytes, target, to + i * block);
    },
  };
}

const f32: Codec = {
  block: 1,
  bytes: 4,
  decode(source, from, target, to, count) {
    const bytes = new Uint8Array(target.buffer, target.byteOffset + to * 4, count * 4);
    bytes.set(source.subarray(from, from + count * 4));
  },
};

const f16: Codec = {
  block: 1,
  bytes: 2,
  decode(source, from, target, to, count) {
    for (let i = 0; i < count; i++) target[to + i] = half(source, from + 2 * i);
  },
};

const bf16: Codec = {
  block: 1,
  bytes: 2,
  decode(source, from, target, to, count) {
    const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
    for (let i = 0, p = from; i < count; i++, p += 2) bits[to + i] = (source[p]! | (source[p + 1]! << 8)) << 16;
  },
};

const q8_0 = blocks(32, 34, (s, p, out, o) => {
  const d = half(s, p);
  for (let i = 0; i < 32; i++) out[o + i] = d * ((s[p + 2 + i]! << 24) >> 24);
});

const q4_0 = blocks(32, 18, (s, p, out, o) => {
  const d = half(s, p);
  for (let i = 0; i < 16; i++) {
    const q = s[p + 2 + i]!;
    out[o + i] = d * ((q & 15) - 8);
    out[o + 16 + i] = d * ((q >> 4) - 8);
  }
});

const q4_1 = blocks(32, 20, (s, p, out, o) => {
  const d = half(s, p);
  const m = half(s, p + 2);
  for (let i = 0; i < 16; i++) {
    const q = s[p + 4 + i]!;
    out[o + i] = d * (q & 15) + m;
    out[o + 16 + i] = d * (q >> 4) + m;
  }
});

/** The 32 fifth bits of a q5_0 or q5_1 block. */
const word = (s: Uint8Array, p: number): number => s[p]! | (s[p + 1]! << 8) | (s[p + 2]! << 16) | (s[p + 3]! << 24);

const q5_0 = blocks(32, 22, (s, p, out, o) => {
  const d = half(s, p);
  const high = word(s, p + 2);
  for (let i = 0; i < 16; i++) {
    const q = s[p + 6 + i]!;
    out[o + i] = d * (((q & 15) | (((high >>> i) & 1) << 4)) - 16);
    out[o + 16 + i] = d * (((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16);
  }
});

const q5_1 = blocks(32, 24, (s, p, out, o) => {
  const d = half(s, p);
  const m = half(s, p + 2);
  const high = word(s, p + 4);
  for (let i = 0; i < 16; i++) {
    const q = s[p + 8 + i]!;
    out[o + i] = d * ((q & 15) | (((high >>> i) & 1) << 4)) + m;
    out[o + 16 + i] = d * ((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) + m;
  }
});

/** The 6-bit scale of sub-block j (0-7) out of the 12 bytes at p that q4_k and q5_k share. */
const scaleOf = (s: Uint8Array, p: number, j: number): number =>
  j < 4 ? s[p + j]! & 63 : (s[p + j + 4]! & 15) | ((s[p + j - 4]! >> 6) << 4);
/** The 6-bit minimum of sub-block j. */
const minOf = (s: Uint8Array, p: number, j: number): number =>
  j < 4 ? s[p + j + 4]! & 63 : (s[p + j + 4]! >> 4) | ((s[p + j]! >> 6) << 4);

const q4_k = blocks(256, 144, (s, p, out, o) => {
  const d = half(s, p);
  const dmin = half(s, p + 2);
  for (let j = 0; j < 8; j++) {
    const scale = d * scaleOf(s, p + 4, j);
    const min = dmin * minOf(s, p + 4, j);
    const at = p + 16 + (j >> 1) * 32;
    const shift = (j & 1) * 4;
    for (let i = 0; i < 32; i++) out[o + j * 32 + i] = scale * ((s[at + i]! >> shift) & 15) - min;
  }
});

const q5_k = blocks(256, 176, (s, p, out, o) => {
  const d = half(s, p);
  const dmin = half(s, p + 2);
  for (let j = 0; j < 8; j++) {
    const scale = d * scaleOf(s, p + 4, j);
    const min = dmin * minOf(s, p + 4, j);
    const at = p + 48 + (j >> 1) * 32;
    const shift = (j & 1) * 4;
    for (let i = 0; i < 32; i++) {
      const q = ((s[at + i]! >> shift) & 15) | (((s[p + 16 + i]! >> j) & 1) << 4);
      out[o + j * 32 + i] = scale * q - min;
    }
  }
});

const q6_k = blocks(256, 210, (s, p, out, o) => {
  const d = half(s, p + 208);
  for (let j = 0; j < 16; j++) {
    const scale = d * ((s[p + 192 + j]! << 24) >> 24);
    const low = p + (j >> 3) * 64 + (j & 3) * 16;
    const high = p + 128 + (j >> 3) * 32 + (j & 1) * 16;
    const lowShift = ((j >> 2) & 1) * 4;
    const highShift = ((j >> 1) & 3) * 2;
    for (let i = 0; i < 16; i++) {
      const q = ((s[low + i]! >> lowShift) & 15) | (((s[high + i]! >> highShift) & 3) << 4);
      out[o + j * 16 + i] = scale * (q - 32);
    }
  }
});

/** What the codes of iq4_nl and iq4_xs stand for, times the block's scale (ggml-common.h, `kvalues_iq4nl`). */
export const IQ4_VALUES = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113] as const;
const IQ4_TABLE = Float64Array.from(IQ4_VALUES);

const iq4_nl = blocks(32, 18, (s, p, out, o) => {
  const d = half(s, p);
  for (let i = 0; i < 16; i++) {
    const q = s[p + 2 + i]!;
    out[o + i] = d * IQ4_TABLE[q & 15]!;
    out[o + 16 + i] = d * IQ4_TABLE[q >> 4]!;
  }
});

const iq4_xs = blocks(256, 136, (s, p, out, o) => {
  const d = half(s, p);
  const high = s[p + 2]! | (s[p + 3]! << 8);
  for (let j = 0; j < 8; j++) {
    const low = (s[p + 4 + (j >> 1)]! >> ((j & 1) * 4)) & 15;
    const scale = d * ((low | (((high >> (2 * j)) & 3) << 4)) - 32);
    for (let i = 0; i < 16; i++) {
      const q = s[p + 8 + 16 * j + i]!;
      out[o + 32 * j + i] = scale * IQ4_TABLE[q & 15]!;
      out[o + 32 * j + 16 + i] = scale * IQ4_TABLE[q >> 4]!;
    }
  }
});

const NF4_TABLE = Float64Array.from(NF4_VALUES);

const nf4: Codec = {
  block: NF4_BLOCK,
  bytes: NF4_BYTES,
  decode(source, from, target, to, count) {
    const scales = new DataView(source.buffer, source.byteOffset);
    for (let i = 0, o = to, p = from; i < count; i++, p += NF4_BYTES) {
      const scale = scales.getFloat32(p, true);
      for (let j = 4; j < NF4_BYTES; j++, o += 2) {
        const codes = source[p + j]!;
        target[o] = scale * NF4_TABLE[codes >> 4]!;
        target[o + 1] = scale * NF4_TABLE[codes & 15]!;
      }
    }
  },
};

const nf4_dq: Codec = {
  block: NF4_BLOCK,
  bytes: DOUBLE_BYTES,
  group: DOUBLE_GROUP,
  decode(source, from, target, to, count) {
    const scales = new Float32Array(DOUBLE_GROUP.blocks);
    for (let first = 0, o = to, p = from; first < count; first += DOUBLE_GROUP.blocks) {
      const blocks = Math.min(DOUBLE_GROUP.blocks, count - first);
      readScales(source, p, blocks, scales);
      p += DOUBLE_GROUP.bytes + blocks;
      for (let i = 0; i < blocks; i++) {
        for (let j = 0; j < NF4_BLOCK / 2; j++, p++, o += 2) {
          target[o] = scales[i]! * NF4_TABLE[source[p]! >> 4]!;
          target[o + 1] = scales[i]! * NF4_TABLE[source[p]! & 15]!;
        }
      }
    }
  },
};

/**
 * Every storage type that can be widened to fp32, by name. The quantised layouts are ggml's (ggml-quants.c,
 * `dequantize_row_*`), nf4 and nf4_dq are bitsandbytes'; results equal their float32 arithmetic bit for bit, since each product fits a
 * double exactly.
 */
export const CODECS = {
  f32,
  f16,
  bf16,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  nf4,
  nf4_dq,
} as const;

export type CodecName = keyof typeof CODECS;

/** The codec of a storage type, or undefined when values of that type cannot be widened. */
export function codecOf(stored: string): Codec | undefined {
  return Object.hasOwn(CODECS, stored) ? CODECS[stored as CodecName] : undefined;
}

/** Bytes of `count` blocks that are not part of a longer tensor. */
export function blockBytes({ bytes, group }: Codec, count: number): number {
  return count * bytes + (group ? Math.ceil(count / group.blocks) * group.bytes : 0);
}
