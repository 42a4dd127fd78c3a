import type { Random } from "./random.js";
import { type Columns, qr, type Svd, svd, times } from "./svd.js";

/** Directions beyond the rank. */
const OVERSAMPLING = 10;

interface TruncatedOptions {
  /** Up to this width a matrix is decomposed exactly. Default 32. */
  readonly exact?: number;
  /** Rounds of power iteration for a wider one. Default 3. */
  readonly rounds?: number;
  /** Right singular vectors that are nearly right, to begin with. Default: none are known. */
  readonly near?: Columns;
}

/**
 * The leading singular triples of `d` [out, in], at least `r` of them where there are so many: exact, or by random projection and power
 * iteration (Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.1). Yields to the event loop.
 */
export async function truncatedSvd(
  d: Float32Array,
  [out, into]: readonly [number, number],
  r: number,
  rng: Random,
  { exact = 32, rounds = 3, near = [] }: TruncatedOptions = {},
): Promise<Svd> {
  const most = Math.min(out, into);
  const k = most <= exact ? most : Math.min(r + OVERSAMPLING, most);
  let basis = await timesMatrix(d, out, into, [...near, ...gaussian(k - near.length, into, rng)]);
  for (let round = 0; k < most && round < rounds; round++) {
    const back = await timesTransposed(d, out, into, qr(basis).q);
    basis = await timesMatrix(d, out, into, qr(back).q);
  }
  const { q } = qr(basis);
  // Q^T D is short and wide: decompose its transpose, D^T Q = Q' R', through R'.
  const wide = qr(await timesTransposed(d, out, into, q));
  const inner = svd(wide.r);
  return { u: inner.v.map((x) => times(q, x)), s: inner.s, v: inner.u.map((x) => times(wide.q, x)) };
}

function gaussian(count: number, length: number, rng: Random): Columns {
  return Array.from({ length: count }, () => Float64Array.from({ length }, () => rng.normal()));
}

/** Multiply-adds between two yields to the event loop. */
const CHUNK = 2 ** 23;
const breathe = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

/** D X for columns of X. */
async function timesMatrix(d: Float32Array, out: number, into: number, x: Columns): Promise<Columns> {
  const result = x.map(() => new Float64Array(out));
  const rows = Math.max(1, Math.floor(CHUNK / (into * x.length)));
  for (let o = 0; o < out; o++) {
    const row = d.subarray(o * into, (o + 1) * into);
    for (const [j, column] of x.entries()) {
      let sum = 0;
      for (let i = 0; i < into; i++) sum += row[i]! * column[i]!;
      result[j]![o] = sum;
    }
    if (o % rows === rows - 1) await breathe();
  }
  return result;
}

/** D^T Y for columns of Y. */
async function timesTransposed(d: Float32Array, out: number, into: number, y: Columns): Promise<Columns> {
  const result = y.map(() => new Float64Array(into));
  const rows = Math.max(1, Math.floor(CHUNK / (into * y.length)));
  for (let o = 0; o < out; o++) {
    const row = d.subarray(o * into, (o + 1) * into);
    for (const [j, column] of y.entries()) {
      const factor = column[o]!;
      const sums = result[j]!;
      for (let i = 0; i < into; i++) sums[i]! += factor * row[i]!;
    }
    if (o % rows === rows - 1) await breathe();
  }
  return result;
}
