import { define, interpret } from "../graph/index.js";
import type { HostTensor } from "../tensor/index.js";
import type { Factors } from "./inits/init.js";
import { A, B, type KindSite, kindOf } from "./kinds/index.js";
import { declareAdapter } from "./update.js";

/** A linear layer's adapter as plain numbers. */
export interface HostAdapter extends KindSite {
  /** By their names in the kind's `tensors`. */
  readonly tensors: Readonly<Record<string, HostTensor>>;
}

/** An adapter's update as plain numbers: W becomes diag(1 + gain) W + alpha b A, and what the layer gives has bias more. */
export interface HostUpdate {
  /** [r, in] */
  readonly a: Float32Array;
  /** [out, r] */
  readonly b: Float64Array;
  readonly alpha: number;
  /** [out] */
  readonly gain?: Float64Array;
  /** [out] */
  readonly bias?: Float64Array;
}

/** Multiply-adds between two yields to the event loop: a few milliseconds. */
const CHUNK_PRODUCTS = 2 ** 22;

/** What an adapter does to its weight [out, in], which is read where the kind asks for the norms of its rows. */
export async function hostUpdate(adapter: HostAdapter, weight: () => Promise<Float32Array>): Promise<HostUpdate> {
  let alpha = 1;
  const f = define("update", (declare) => {
    const { alpha: factor, b, gain, bias } = declareAdapter(declare, "", adapter);
    alpha = factor;
    return { b, ...(gain ? { gain } : {}), ...(bias ? { bias } : {}) };
  });
  const norms = kindOf(adapter.kind).startsAtNorms ? await hostNorms(adapter, await weight()) : undefined;
  const { b, gain, bias } = interpret(f, { ...adapter.tensors, ...(norms ? { weight_norm: norms } : {}) });
  const a = adapter.tensors[A]!.data as Float32Array;
  return { a, b: b!.data, alpha, ...(gain ? { gain: gain.data } : {}), ...(bias ? { bias: bias.data } : {}) };
}

/** Folds an adapter into its weight [out, in] in place. Sums are float64 and rounded once. */
export async function foldAdapter(weight: Float32Array, adapter: HostAdapter): Promise<void> {
  const { a, b, alpha, gain } = await hostUpdate(adapter, async () => weight);
  const width = adapter.in;
  await eachRow(adapter, a, b, alpha, (o, sums) => {
    const factor = 1 + (gain?.[o] ?? 0);
    for (let i = 0; i < width; i++) weight[o * width + i] = factor * weight[o * width + i]! + sums[i]!;
  });
}

/** Adds an adapter's share to its layer's bias [out] in place. */
export async function foldBias(values: Float32Array, adapter: HostAdapter): Promise<void> {
  const { bias } = await hostUpdate(adapter, () => Promise.reject(new RangeError("no kind with biases goes by norms")));
  if (bias) for (let o = 0; o < values.length; o++) values[o]! += bias[o]!;
}

/** W [out, in] with sign times scale B A added, as new values. */
export async function withProduct(
  weight: Float32Array,
  site: KindSite,
  { a, b }: Factors,
  sign: 1 | -1,
): Promise<Float32Array> {
  const sum = weight.slice();
  await eachRow(site, a, b, sign * site.scale, (o, sums) => {
    for (let i = 0; i < site.in; i++) sum[o * site.in + i]! += sums[i]!;
  });
  return sum;
}

/** The L2 norms [out] of the rows of W + scale B A. */
export async function hostNorms(adapter: HostAdapter, weight: Float32Array) {
  const { out, in: width, scale, tensors } = adapter;
  const data = new Float64Array(out);
  const [a, b] = [tensors[A]!, tensors[B]!].map((tensor) => tensor.data as Float32Array) as [
    Float32Array,
    Float32Array,
  ];
  await eachRow(adapter, a, b, scale, (o, sums) => {
    let square = 0;
    for (let i = 0; i < width; i++) square += (weight[o * width + i]! + sums[i]!) ** 2;
    data[o] = Math.sqrt(square);
  });
  return { shape: [out], data };
}

/** Gives each row of alpha b A in turn, in float64; between chunks others may run. */
async function eachRow(
  { out, in: width, r }: KindSite,
  a: Float32Array,
  b: Float32Array | Float64Array,
  alpha: number,
  use: (row: number, values: Float64Array) => void,
): Promise<void> {
  const rows = Math.max(1, Math.floor(CHUNK_PRODUCTS / (width * r)));
  const sums = new Float64Array(width);
  for (let first = 0; first < out; first += rows) {
    for (let o = first; o < Math.min(out, first + rows); o++) {
      sums.fill(0);
      for (let k = 0; k < r; k++) {
        const factor = b[o * r + k]! * alpha;
        for (let i = 0; i < width; i++) sums[i]! += factor * a[k * width + i]!;
      }
      use(o, sums);
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}
