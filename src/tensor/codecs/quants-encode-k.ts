import { f16Bits, f16Value } from "../index.js";

// ggml's K quantisers of blocks of 256 (ggml-quants.c), operation by operation: C computes in float32, so every result is rounded
// to it, and sums run in C's order.

const { fround, abs, max, min } = Math;
/** Below this a group counts as all zeros (ggml's GROUP_MAX_EPS). */
const NOTHING = fround(1e-15);

/** ggml's nearest_int: to even on a tie, by adding 1.5 * 2^23. */
const nearest = (x: number): number => fround(fround(x) + 12582912) - 12582912;
const clamp = (x: number, low: number, high: number): number => max(low, min(high, x));

function putHalf(out: Uint8Array, p: number, value: number): number {
  const bits = f16Bits(value);
  out[p] = bits & 255;
  out[p + 1] = bits >> 8;
  return f16Value(bits);
}

/** The two sums that decide a scale: of w x l and of w l l, for values x with weights w and quants l. */
interface Fit {
  readonly sumlx: number;
  readonly suml2: number;
}

/** Quants of 16 values in [-32, 31] for one scale, and how well they fit, each value weighted by its square. */
function tryScale(x: Float32Array, o: number, iscale: number, into: Int8Array): Fit {
  let [sumlx, suml2] = [0, 0];
  for (let i = 0; i < 16; i++) {
    const value = x[o + i]!;
    const l = clamp(nearest(fround(iscale * value)), -32, 31);
    into[i] = l;
    const w = fround(value * value);
    sumlx = fround(sumlx + fround(fround(w * value) * l));
    suml2 = fround(suml2 + fround(fround(w * l) * l));
  }
  return { sumlx, suml2 };
}

/** make_qx_quants(16, 32, x, L, 1): the symmetric scale of 16 values, of 19 tried; `quants` are those of the best, plus 32. */
function symmetric(x: Float32Array, o: number, quants: Uint8Array, at: number): number {
  let [most, size] = [0, 0];
  for (let i = 0; i < 16; i++) {
    const magnitude = abs(x[o + i]!);
    if (magnitude > size) [size, most] = [magnitude, x[o + i]!];
  }
  if (size < NOTHING) {
    quants.fill(0, at, at + 16);
    return 0;
  }
  const tried = new Int8Array(16);
  const keep = () => {
    for (let i = 0; i < 16; i++) quants[at + i] = tried[i]! + 32;
  };
  const first = tryScale(x, o, fround(-32 / most), tried);
  keep();
  let scale = first.suml2 ? fround(first.sumlx / first.suml2) : 0;
  let best = fround(scale * first.sumlx);
  for (let step = -9; step <= 9; step++) {
    if (step === 0) continue;
    const iscale = fround(-fround(32 + fround(fround(0.1) * step)) / most);
    const { sumlx, suml2 } = tryScale(x, o, iscale, tried);
    if (!(suml2 > 0 && fround(sumlx * sumlx) > fround(best * suml2))) continue;
    keep();
    scale = fround(sumlx / suml2);
    best = fround(scale * sumlx);
  }
  return scale;
}

/** quantize_row_q6_K_ref for one block: 256 values from `o` to 210 bytes from `p`. */
export function encodeQ6K(x: Float32Array, o: number, out: Uint8Array, p: number): void {
  const quants = new Uint8Array(256);
  const scales = new Float32Array(16);
  let [most, size] = [0, 0];
  for (let j = 0; j < 16; j++) {
    scales[j] = symmetric(x, o + 16 * j, quants, 16 * j);
    if (abs(scales[j]!) > size) [size, most] = [abs(scales[j]!), scales[j]!];
  }
  if (size < NOTHING) return void out.fill(0, p, p + 210);
  const iscale = fround(-128 / most);
  const d = putHalf(out, p + 208, fround(1 / iscale));
  for (let j = 0; j < 16; j++) {
    const scale = min(127, nearest(fround(iscale * scales[j]!)));
    out[p + 192 + j] = scale;
    const step = fround(d * scale);
    if (step === 0) continue;
    for (let i = 0; i < 16; i++) quants[16 * j + i] = clamp(nearest(fround(x[o + 16 * j + i]! / step)), -32, 31) + 32;
  }
  for (let half = 0; half < 2; half++) {
    const q = (i: number) => quants[128 * half + i]!;
    for (let l = 0; l < 32; l++) {
      out[p + 64 * half + l] = (q(l) & 15) | ((q(l + 64) & 15) << 4);
      out[p + 64 * half + 32 + l] = (q(l + 32) & 15) | ((q(l + 96) & 15) << 4);
      out[p + 128 + 32 * half + l] =
        (q(l) >> 4) | ((q(l + 32) >> 4) << 2) | ((q(l + 64) >> 4) << 4) | ((q(l + 96) >> 4) << 6);
    }
  }
}

/** Weighted squared error of 32 quants under a scale and a minimum. */
function errorOf(x: Float32Array, o: number, w: Float32Array, quants: Uint8Array, scale: number, low: number): number {
  let error = 0;
  for (let i = 0; i < 32; i++) {
    const difference = fround(fround(fround(scale * quants[i]!) + low) - x[o + i]!);
    error = fround(error + fround(w[i]! * fround(difference * difference)));
  }
  return error;
}

interface Group {
  readonly scale: number;
  /** The minimum, negated. */
  readonly low: number;
  readonly quants: Uint8Array;
}

/** make_qkx2_quants(32, 15, x, w, ..., -1, 0.1, 20, false): scale and minimum of 32 values, of 22 tried. */
function withMinimum(x: Float32Array, o: number, w: Float32Array): Group {
  let [least, most] = [x[o]!, x[o]!];
  let sumW = w[0]!;
  let sumX = fround(sumW * x[o]!);
  for (let i = 1; i < 32; i++) {
    least = min(least, x[o + i]!);
    most = max(most, x[o + i]!);
    sumW = fround(sumW + w[i]!);
    sumX = fround(sumX + fround(w[i]! * x[o + i]!));
  }
  if (least > 0) least = 0;
  const quants = new Uint8Array(32);
  if (most === least) return { scale: 0, low: -least, quants };
  // From the best minimum so far, as ggml has it, not from the least value.
  const quantise = (iscale: number) => {
    for (let i = 0; i < 32; i++) quants[i] = clamp(nearest(fround(iscale * fround(x[o + i]! - least))), 0, 15);
  };
  const first = fround(15 / fround(most - least));
  let scale = fround(1 / first);
  quantise(first);
  let best = errorOf(x, o, w, quants, scale, least);
  const kept = quants.slice();
  for (let step = 0; step <= 20; step++) {
    quantise(fround(fround(fround(-1 + fround(fround(0.1) * step)) + 15) / fround(most - least)));
    let [sumL, sumL2, sumXL] = [0, 0, 0];
    for (let i = 0; i < 32; i++) {
      const wl = fround(w[i]! * quants[i]!);
      sumL = fround(sumL + wl);
      sumL2 = fround(sumL2 + fround(wl * quants[i]!));
      sumXL = fround(sumXL + fround(wl * x[o + i]!));
    }
    const determinant = fround(fround(sumW * sumL2) - fround(sumL * sumL));
    if (!(determinant > 0)) continue;
    let ownScale = fround(fround(fround(sumW * sumXL) - fround(sumX * sumL)) / determinant);
    let ownLow = fround(fround(fround(sumL2 * sumX) - fround(sumL * sumXL)) / determinant);
    if (ownLow > 0) [ownLow, ownScale] = [0, fround(sumXL / sumL2)];
    const error = errorOf(x, o, w, quants, ownScale, ownLow);
    if (!(error < best)) continue;
    [best, scale, least] = [error, ownScale, ownLow];
    kept.set(quants);
  }
  return { scale, low: -least, quants: kept };
}

/** quantize_row_q4_K_ref for one block: 256 values from `o` to 144 bytes from `p`. */
export function encodeQ4K(x: Float32Array, o: number, out: Uint8Array, p: number): void {
  const groups = Array.from({ length: 8 }, (_, j) => {
    const at = o + 32 * j;
    let squares = 0;
    for (let i = 0; i < 32; i++) squares = fround(squares + fround(x[at + i]! * x[at + i]!));
    const average = fround(Math.sqrt(fround(squares / 32)));
    const w = Float32Array.from({ length: 32 }, (_, i) => average + abs(x[at + i]!));
    return withMinimum(x, at, w);
  });
  const most = groups.reduce((a, { scale }) => max(a, scale), 0);
  const mostLow = groups.reduce((a, { low }) => max(a, low), 0);
  const sixBits = (value: number, largest: number) =>
    largest > 0 ? min(63, nearest(fround(fround(63 / largest) * value)) & 255) : 0;
  const scales = groups.map(({ scale }) => sixBits(scale, most));
  const lows = groups.map(({ low }) => sixBits(low, mostLow));
  const d = putHalf(out, p, fround(most / 63));
  const dLow = putHalf(out, p + 2, fround(mostLow / 63));
  for (let j = 0; j < 4; j++) {
    out[p + 4 + j] = scales[j]! | ((scales[j + 4]! >> 4) << 6);
    out[p + 8 + j] = lows[j]! | ((lows[j + 4]! >> 4) << 6);
    out[p + 12 + j] = (scales[j + 4]! & 15) | ((lows[j + 4]! & 15) << 4);
  }
  for (let j = 0; j < 8; j++) {
    const [step, low] = [fround(d * scales[j]!), fround(dLow * lows[j]!)];
    for (let i = 0; i < 32; i++) {
      const q =
        step === 0 ? groups[j]!.quants[i]! : clamp(nearest(fround(fround(x[o + 32 * j + i]! + low) / step)), 0, 15);
      const at = p + 16 + (j >> 1) * 32 + i;
      out[at] = j % 2 === 0 ? q : out[at]! | (q << 4);
    }
  }
}
