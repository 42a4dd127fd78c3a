import * as g from "./build.js";
import type { Value } from "./value.js";

/** Added to masked scores: far below any score, and finite so that no provider turns it into NaN. */
export const MASKED = -1e9;

/**
 * softmax(q k^T scale + mask) for q [H, T, hd], k [KV, T, hd], mask [T, T]. Queries that share a key are folded into rows,
 * so keys are never repeated: the result is [KV, (H / KV) T, T].
 */
export function attentionWeights(q: Value, k: Value, mask: Value, scale: number): Value {
  const [heads, t, hd] = q.shape as [number, number, number];
  const [kv] = k.shape as [number];
  const folded = (heads / kv) * t;
  const scores = g.matmul(g.reshape(q, [kv, folded, hd]), k, { transB: true, alpha: scale });
  const masked = g.add(g.reshape(scores, [heads, t, t]), mask);
  return g.reshape(g.softmax(masked), [kv, folded, t]);
}

/** The composition that `attention` stands for: attentionWeights(q, k, mask) v with the heads joined, [T, H hd]. */
export function expandAttention(q: Value, k: Value, v: Value, mask: Value, scale: number): Value {
  const [heads, t, hd] = q.shape as [number, number, number];
  const o = g.reshape(g.matmul(attentionWeights(q, k, mask, scale), v), [heads, t, hd]);
  return g.reshape(g.transpose(o, 1, 0, 2), [t, heads * hd]);
}

/** The mask that lets position i see positions 0 ... i: [T, T], 0 or MASKED. */
export function causalMask(t: number): Float32Array {
  const mask = new Float32Array(t * t);
  for (let i = 0; i < t; i++) mask.fill(MASKED, i * t + i + 1, (i + 1) * t);
  return mask;
}
