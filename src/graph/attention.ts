import { f32 } from "../tensor/index.js";
import * as g from "./build.js";
import type { Value } from "./value.js";

/** Added to masked scores: far below any score, and finite so that no provider turns it into NaN. */
const MASKED = -1e9;

/**
 * softmax(causal(q k^T scale)) for q [KV, G, T, hd] and k [KV, T, hd]. Grouped queries are folded into rows, so keys are
 * never repeated: the result is [KV, G*T, T].
 */
export function attentionWeights(q: Value, k: Value, scale: number): Value {
  const [kv, groups, t, hd] = q.shape as [number, number, number, number];
  const scores = g.matmul(g.reshape(q, [kv, groups * t, hd]), k, { transB: true, alpha: scale });
  const mask = new Float32Array(t * t);
  for (let i = 0; i < t; i++) mask.fill(MASKED, i * t + i + 1, (i + 1) * t);
  const masked = g.add(g.reshape(scores, [kv * groups, t, t]), g.constant(f32([t, t], mask)));
  return g.reshape(g.softmax(masked), [kv, groups * t, t]);
}

/** The composition that `causalAttention` stands for: attentionWeights(q, k) v, as [KV, G, T, hd]. */
export function expandAttention(q: Value, k: Value, v: Value, scale: number): Value {
  return g.reshape(g.matmul(attentionWeights(q, k, scale), v), q.shape);
}
