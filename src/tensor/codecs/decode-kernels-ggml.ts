import {
  add32,
  and32,
  type Code,
  get,
  i32,
  type Kernel,
  load8s,
  load8u,
  load16u,
  or32,
  set,
  shl32,
  shrU32,
  v,
} from "../wasm.js";
import { floats, from, halfScale, local, stores } from "./kernel-parts.js";
import { IQ4_VALUES } from "./quants.js";

/** `halfScale` into BYTES uses the local behind it too. */
const [SCALE, MIN, BYTES] = [0, 1, 2].map(local) as [number, number, number];

const q8_0: Kernel = {
  reads: 34,
  writes: 128,
  locals: 4,
  body: [
    ...set(SCALE, halfScale(0, BYTES)),
    ...[0, 16].flatMap((at) => [
      ...set(BYTES, v.load(from, 2 + at)),
      ...stores(
        floats(BYTES).map((x) => v.mul(x, get(SCALE))),
        4 * at,
      ),
    ]),
  ],
};

/** Blocks of 32 four-bit codes: the low halves of the 16 bytes at `at` come before the high ones. */
function fourBit(
  reads: number,
  at: number,
  scales: Code,
  value: (code: Code) => Code,
  lift: (codes: Code, half: number) => Code,
): Kernel {
  const low = v.and(v.load(from, at), v.splat8(15));
  const high = v.shrU8(v.load(from, at), 4);
  const halves = [low, high].flatMap((codes, i) => [
    ...set(BYTES, lift(codes, i)),
    ...stores(floats(BYTES).map(value), 64 * i),
  ]);
  return { reads, writes: 128, locals: 4, body: [...scales, ...halves] };
}

const q4_0 = fourBit(
  18,
  2,
  set(SCALE, halfScale(0, BYTES)),
  (x) => v.mul(x, get(SCALE)),
  (codes) => v.sub8(codes, v.splat8(8)),
);

const q4_1 = fourBit(
  20,
  4,
  [...set(SCALE, halfScale(0, BYTES)), ...set(MIN, halfScale(2, BYTES))],
  (x) => v.add(v.mul(x, get(SCALE)), get(MIN)),
  (codes) => codes,
);

/** The fifth bits of 16 codes, out of the 32 bits at `at`, in their place. */
function fifthBits(at: number, half: number): Code {
  const bits = v.constant(Array.from({ length: 16 }, (_, i) => 1 << (i % 8)));
  const word = v.loadSplat32(from, at);
  const spread = v.shuffle(
    word,
    word,
    Array.from({ length: 16 }, (_, i) => 2 * half + (i >> 3)),
  );
  return v.and(v.equal8(v.and(spread, bits), bits), v.splat8(16));
}

const q5_0 = fourBit(
  22,
  6,
  set(SCALE, halfScale(0, BYTES)),
  (x) => v.mul(x, get(SCALE)),
  (codes, half) => v.sub8(v.or(codes, fifthBits(2, half)), v.splat8(16)),
);

const q5_1 = fourBit(
  24,
  8,
  [...set(SCALE, halfScale(0, BYTES)), ...set(MIN, halfScale(2, BYTES))],
  (x) => v.add(v.mul(x, get(SCALE)), get(MIN)),
  (codes, half) => v.or(codes, fifthBits(4, half)),
);

const byte = (at: number): Code => load8u(from, at);
/** The 6-bit scale and minimum of eighth j of a q4_k or q5_k block (`quants.ts`, `scaleOf` and `minOf`). */
const upperBits = (at: number): Code => shl32(shrU32(byte(at), i32(6)), i32(4));
const scaleOf = (j: number): Code =>
  j < 4 ? and32(byte(4 + j), i32(63)) : or32(and32(byte(8 + j), i32(15)), upperBits(j));
const minOf = (j: number): Code =>
  j < 4 ? and32(byte(8 + j), i32(63)) : or32(shrU32(byte(8 + j), i32(4)), upperBits(4 + j));

const [D, D_MIN, K_SCALE, K_MIN, K_BYTES] = [0, 1, 2, 3, 4].map(local) as [number, number, number, number, number];
const times = (whole: Code, scale: number): Code => v.mul(v.toFloat(v.splat32(whole)), get(scale));

/** A block of 256 codes of four or five bits, in eighths with a scale and a minimum each; `codes` are 16 of eighth j. */
function eighths(reads: number, codes: (j: number, at: number) => Code): Kernel {
  const eighth = (j: number) => [
    ...set(K_SCALE, times(scaleOf(j), D)),
    ...set(K_MIN, times(minOf(j), D_MIN)),
    ...[0, 16].flatMap((at) => [
      ...set(K_BYTES, codes(j, at)),
      ...stores(
        floats(K_BYTES).map((x) => v.sub(v.mul(x, get(K_SCALE)), get(K_MIN))),
        128 * j + 4 * at,
      ),
    ]),
  ];
  const scales = [...set(D, halfScale(0, K_BYTES)), ...set(D_MIN, halfScale(2, K_BYTES))];
  return { reads, writes: 1024, locals: 6, body: [...scales, ...[0, 1, 2, 3, 4, 5, 6, 7].flatMap(eighth)] };
}

/** Sixteen nibbles: low halves for even j, high ones for odd. */
const nibbles = (j: number, at: number): Code =>
  j % 2 ? v.shrU8(v.load(from, at), 4) : v.and(v.load(from, at), v.splat8(15));

const q4_k = eighths(144, (j, at) => nibbles(j, 16 + (j >> 1) * 32 + at));
const q5_k = eighths(176, (j, at) =>
  v.or(nibbles(j, 48 + (j >> 1) * 32 + at), v.shl8(v.and(v.shrU8(v.load(from, 16 + at), j), v.splat8(1)), 4)),
);

/** Sixteenth j of a q6_k block: 16 codes less 32, times their scale. */
function sixteenth(j: number): Code {
  const low = v.load(from, (j >> 3) * 64 + (j & 3) * 16);
  const high = v.shrU8(v.load(from, 128 + (j >> 3) * 32 + (j & 1) * 16), ((j >> 1) & 3) * 2);
  const four = (j >> 2) & 1 ? v.shrU8(low, 4) : v.and(low, v.splat8(15));
  return [
    ...set(K_SCALE, times(load8s(from, 192 + j), D)),
    ...set(K_BYTES, v.sub8(v.or(four, v.shl8(v.and(high, v.splat8(3)), 4)), v.splat8(32))),
    ...stores(
      floats(K_BYTES).map((x) => v.mul(x, get(K_SCALE))),
      64 * j,
    ),
  ];
}

const q6_k: Kernel = {
  reads: 210,
  writes: 1024,
  locals: 6,
  body: [...set(D, halfScale(208, K_BYTES)), ...Array.from({ length: 16 }, (_, j) => sixteenth(j)).flat()],
};

const iq4 = (codes: Code): Code => v.swizzle(v.constant(IQ4_VALUES.map((x) => x & 255)), codes);

const iq4_nl = fourBit(18, 2, set(SCALE, halfScale(0, BYTES)), (x) => v.mul(x, get(SCALE)), iq4);

/** Eighth j of an iq4_xs block: 32 codes, times a scale of six bits less 32. */
function iq4Eighth(j: number): Code {
  const low = and32(shrU32(byte(4 + (j >> 1)), i32((j & 1) * 4)), i32(15));
  const high = shl32(and32(shrU32(load16u(from, 2), i32(2 * j)), i32(3)), i32(4));
  const halves = [0, 1].flatMap((half) => [
    ...set(K_BYTES, iq4(nibbles(half, 8 + 16 * j))),
    ...stores(
      floats(K_BYTES).map((x) => v.mul(x, get(K_SCALE))),
      128 * j + 64 * half,
    ),
  ]);
  return [...set(K_SCALE, times(add32(or32(low, high), i32(-32)), D)), ...halves];
}

const iq4_xs: Kernel = {
  reads: 136,
  writes: 1024,
  locals: 6,
  body: [...set(D, halfScale(0, K_BYTES)), ...Array.from({ length: 8 }, (_, j) => iq4Eighth(j)).flat()],
};

/** Decoders of ggml's quantised types. */
export const GGML_KERNELS = { q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, iq4_nl, iq4_xs } as const;
