import { type LayerKind, type ModelConfig, type ropeTables, rotaryPairs, scoring } from "../models/index.js";

// What a streamed run does beside its products, as plain arithmetic.

export const capped = (value: number, cap: number): number => (cap > 0 ? cap * Math.tanh(value / cap) : value);

export const silu = (x: number): number => x / (1 + Math.exp(-x));

export const geluTanh = (x: number): number =>
  0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** Columns [first, first + width) of n rows. */
export function columns(values: Float32Array, n: number, first: number, width: number): Float32Array {
  const all = values.length / n;
  const part = new Float32Array(n * width);
  for (let row = 0; row < n; row++)
    part.set(values.subarray(row * all + first, row * all + first + width), row * width);
  return part;
}

export function joined(a: Float32Array, b: Float32Array): Float32Array {
  const all = new Float32Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}

/** Causal attention of n tokens behind `first` others: q [n, H hd], k and v [first + n, KV hd], rotated, to [n, H hd]. */
export function attention(
  config: ModelConfig,
  kind: LayerKind,
  { n, first }: { readonly n: number; readonly first: number },
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
): Float32Array {
  const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim: hd } = config;
  const { scale, softcap } = scoring(config);
  const { window = first + n } = kind;
  const o = new Float32Array(n * heads * hd);
  for (let head = 0; head < heads; head++) {
    const group = Math.floor((head * kv) / heads);
    for (let i = 0; i < n; i++) {
      const here = first + i + 1;
      const from = Math.max(0, here - window);
      const query = q.subarray((i * heads + head) * hd, (i * heads + head + 1) * hd);
      const scores = new Float64Array(here - from);
      for (let j = 0; j < scores.length; j++) {
        const at = ((from + j) * kv + group) * hd;
        let sum = 0;
        for (let c = 0; c < hd; c++) sum += query[c]! * k[at + c]!;
        scores[j] = capped(sum * scale, softcap);
      }
      const most = scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      const weights = scores.map((score) => Math.exp(score - most));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let j = 0; j < weights.length; j++) {
        const [share, at] = [weights[j]! / total, ((from + j) * kv + group) * hd];
        for (let c = 0; c < hd; c++) o[(i * heads + head) * hd + c]! += share * v[at + c]!;
      }
    }
  }
  return o;
}

/** Rotary positions from 0 on, on the first pairs of each head. */
export function rotated(
  config: ModelConfig,
  n: number,
  x: Float32Array,
  heads: number,
  { cos, sin }: ReturnType<typeof ropeTables>,
): Float32Array {
  const [pairs, hd] = [rotaryPairs(config), config.headDim];
  const y = x.slice();
  for (let i = 0; i < n; i++) {
    for (let head = 0; head < heads; head++) {
      for (let c = 0; c < pairs; c++) {
        const at = (i * heads + head) * hd + c;
        const [a, b] = [x[at]!, x[at + pairs]!];
        const [u, w] = [cos.data[i * pairs + c] as number, sin.data[i * pairs + c] as number];
        y[at] = a * u - b * w;
        y[at + pairs] = b * u + a * w;
      }
    }
  }
  return y;
}
