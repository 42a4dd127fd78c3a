import { type Code, FROM, get, type Kernel, LOCALS, type Loaded, loadKernels, set, TO, v } from "../wasm.js";
import { words } from "./kernel-parts.js";
import { NF4_BLOCK, NF4_BYTES, NF4_VALUES } from "./nf4.js";

const from = get(FROM);
const to = get(TO);
const [MOST, INVERSE, X, LOW, HIGH] = [0, 1, 2, 3, 4].map((i) => LOCALS + i) as [
  number,
  number,
  number,
  number,
  number,
];

const everywhere = (value: number): Code =>
  v.constant(new Uint8Array(Float32Array.of(value, value, value, value).buffer));
const lanes = (...order: readonly number[]): number[] => order.flatMap((lane) => [0, 1, 2, 3].map((i) => 4 * lane + i));

/**
 * The upper end of each code's range, midway between two values. A float32 is above the middle exactly when it is above the
 * largest float32 that is not.
 */
const MIDDLES = Array.from({ length: 15 }, (_, i) => {
  const middle = (NF4_VALUES[i]! + NF4_VALUES[i + 1]!) / 2;
  const bits = new Int32Array(Float32Array.of(middle).buffer);
  if (Math.fround(middle) > middle) bits[0]! += middle > 0 ? -1 : 1;
  return new Float32Array(bits.buffer)[0]!;
});

/** The largest magnitude of the block, in every lane of MOST; NaN when there is one. */
function largest(block: number): Code {
  let most = v.abs(v.load(from, 0));
  for (let at = 16; at < 4 * block; at += 16) most = v.max(most, v.abs(v.load(from, at)));
  const swapped = (order: readonly number[]) => v.max(get(MOST), v.shuffle(get(MOST), get(MOST), lanes(...order)));
  return [...set(MOST, most), ...set(MOST, swapped([1, 0, 3, 2])), ...set(MOST, swapped([2, 3, 0, 1]))];
}

/** The codes of four values at `at`: how many middles each is above, as 32-bit numbers. */
function fourCodes(at: number): { prepare: Code; codes: Code } {
  const above = MIDDLES.map((middle) => v.greater(get(X), everywhere(middle)));
  return {
    prepare: set(X, v.mul(v.load(from, at), get(INVERSE))),
    codes: v.negate32(above.reduce((sum, mask) => v.add32(sum, mask))),
  };
}

/** Sixteen codes as eight 16-bit lanes of two, the first in the high half of the low byte. */
function eightPairs(at: number, target: number): Code {
  const halves = [LOW, HIGH].flatMap((half, i) => {
    const [a, b] = [fourCodes(at + 32 * i), fourCodes(at + 32 * i + 16)];
    return [...a.prepare, ...set(half, a.codes), ...b.prepare, ...set(half, v.narrow16(get(half), b.codes))];
  });
  const bytes = set(X, v.narrow8(get(LOW), get(HIGH)));
  const pairs = v.and(
    v.or(v.shl16(get(X), 4), v.shrU16(get(X), 8)),
    v.constant(new Uint8Array(16).map((_, i) => (i & 1 ? 0 : 255))),
  );
  return [...halves, ...bytes, ...set(target, pairs)];
}

const PAIRS = [LOCALS + 5, LOCALS + 6] as const;

const nf4: Kernel = {
  reads: 4 * NF4_BLOCK,
  writes: NF4_BYTES,
  locals: 7,
  body: [
    ...largest(NF4_BLOCK),
    ...v.store(to, 0, get(MOST)), // only its first lane stays: codes come over the others
    ...set(INVERSE, v.and(v.div(everywhere(1), get(MOST)), v.notEqual(get(MOST), everywhere(0)))),
    ...[0, 1].flatMap((half) => [
      ...eightPairs(128 * half, PAIRS[0]),
      ...eightPairs(128 * half + 64, PAIRS[1]),
      ...v.store(to, 4 + 16 * half, v.narrow8(get(PAIRS[0]), get(PAIRS[1]))),
    ]),
  ],
};

/** Float32 in local `x`, at most 65504 in magnitude, to float16 bits in 32-bit lanes: to nearest, ties to even. Uses `x` + 1. */
function narrowHalf(x: number): Code {
  const magnitude = get(x + 1);
  const odd = v.and(v.shrU32(magnitude, 13), words(1));
  const normal = v.shrU32(v.add32(v.add32(magnitude, words(0x0fff - 0x38000000)), odd), 13);
  const subnormal = v.toInt(v.nearest(v.mul(magnitude, everywhere(2 ** 24))));
  const isSmall = v.less32(magnitude, words(0x38800000)); // below the least normal float16
  const sign = v.and(v.shrU32(get(x), 16), words(0x8000));
  const chosen = v.or(v.and(isSmall, subnormal), v.andNot(normal, isSmall));
  return [...set(x + 1, v.and(get(x), words(0x7fffffff))), ...v.or(chosen, sign)];
}

const f16: Kernel = {
  reads: 32,
  writes: 16,
  locals: 4,
  body: [
    ...set(LOCALS, v.load(from, 0)),
    ...set(LOCALS + 2, narrowHalf(LOCALS)),
    ...set(LOCALS, v.load(from, 16)),
    ...set(LOCALS + 3, narrowHalf(LOCALS)),
    ...v.store(to, 0, v.narrow16(get(LOCALS + 2), get(LOCALS + 3))),
  ],
};

/** Four values at `at` times INVERSE, rounded to whole numbers, halves away from zero, as 32-bit numbers. */
function rounded(at: number): Code {
  const floor = v.floor(v.abs(get(X)));
  const up = v.and(v.atLeast(v.sub(v.abs(get(X)), get(LOW)), everywhere(0.5)), everywhere(1));
  const sign = v.and(get(X), words(0x80000000));
  return [
    ...set(X, v.mul(v.load(from, at), get(INVERSE))),
    ...set(LOW, floor),
    ...v.toInt(v.or(v.add(get(LOW), up), sign)),
  ];
}

const sixteenBytes = (at: number): Code =>
  v.narrowS8(v.narrowS16(rounded(at), rounded(at + 16)), v.narrowS16(rounded(at + 32), rounded(at + 48)));

const q8_0: Kernel = {
  reads: 128,
  writes: 34,
  locals: 5,
  body: [
    ...largest(32),
    ...set(MOST, v.div(get(MOST), everywhere(127))),
    ...set(INVERSE, v.and(v.div(everywhere(1), get(MOST)), v.notEqual(get(MOST), everywhere(0)))),
    ...set(X, get(MOST)),
    ...v.store(to, 0, narrowHalf(X)), // only its first two bytes stay
    ...[0, 1].flatMap((half) => v.store(to, 2 + 16 * half, sixteenBytes(64 * half))),
  ],
};

const KERNELS = { nf4, f16, q8_0 } as const;

/** Bytes read at once; they lie at VALUES, what they become at 0. */
const CHUNK = 16384;
const VALUES = 32768;

let loaded: Loaded | undefined;

/**
 * Encodes fp32 values, a whole number of blocks (f16: of eight): as bitsandbytes' `quantize_4bit(quant_type="nf4", blocksize=64)`
 * and ggml's `quantize_row_q8_0_ref`, bit for bit, or to the nearest float16. A block of nf4 with a value that is not finite has
 * a scale that is not; the others need values up to 65504.
 */
export function encodeBlocks(name: keyof typeof KERNELS, values: Float32Array): Uint8Array<ArrayBuffer> {
  loaded ??= loadKernels(KERNELS, 1);
  const { run, buffer } = loaded;
  const { reads, writes } = KERNELS[name];
  const [bytes, floats] = [new Uint8Array(buffer), new Float32Array(buffer, VALUES)];
  const blocks = (4 * values.length) / reads;
  const out = new Uint8Array(blocks * writes);
  const step = CHUNK / reads;
  for (let block = 0; block < blocks; block += step) {
    const count = Math.min(step, blocks - block);
    floats.set(values.subarray((block * reads) / 4, ((block + count) * reads) / 4));
    run[name]!(VALUES, 0, count);
    out.set(bytes.subarray(0, count * writes), block * writes);
  }
  return out;
}
