import * as g from "./build.js";
import type { Value } from "./value.js";

/** Added to masked scores: far below any score, and finite so that no provider turns it into NaN. */
export const MASKED = -1e9;

/** The operands of `attention`, in order. */
interface Operands {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly mask: Value;
}

/** Queries [start, end) with the keys that they can see: all of them, or in blocks those up to the block's own end. */
interface Block extends Operands {
  readonly start: number;
  readonly end: number;
}

function blocksOf({ q, k, v, mask }: Operands, queryBlock: number): Block[] {
  const t = q.shape[1]!;
  if (!queryBlock || queryBlock >= t) return [{ q, k, v, mask, start: 0, end: t }];
  return Array.from({ length: Math.ceil(t / queryBlock) }, (_, i) => {
    const [start, end] = [i * queryBlock, Math.min(t, (i + 1) * queryBlock)];
    const seen = g.slice(g.slice(mask, 0, start, end), 1, 0, end);
    return { q: g.slice(q, 1, start, end), k: g.slice(k, 1, 0, end), v: g.slice(v, 1, 0, end), mask: seen, start, end };
  });
}

/**
 * softmax(q k^T scale + mask) for q [H, C, hd], k [KV, S, hd], mask [C, S]. Queries that share a key are folded into rows,
 * so keys are never repeated: the result is [KV, (H / KV) C, S].
 */
function weightsOf({ q, k, mask }: Operands, alpha: number): Value {
  const [heads, c, hd] = q.shape as [number, number, number];
  const [kv, s] = k.shape as [number, number];
  const folded = (heads / kv) * c;
  const scores = g.matmul(g.reshape(q, [kv, folded, hd]), k, { transB: true, alpha });
  const masked = g.add(g.reshape(scores, [heads, c, s]), mask);
  return g.reshape(g.softmax(masked), [kv, folded, s]);
}

/** The composition that `attention` stands for: softmax(q k^T scale + mask) v with the heads joined, [T, H hd]. */
export function expandAttention(operands: Operands, scale: number, queryBlock: number): Value {
  const [heads, t, hd] = operands.q.shape as [number, number, number];
  const blocks = blocksOf(operands, queryBlock).map((b) =>
    g.reshape(g.matmul(weightsOf(b, scale), b.v), [heads, b.end - b.start, hd]),
  );
  return g.reshape(g.transpose(g.concat(blocks, 1), 1, 0, 2), [t, heads * hd]);
}

/**
 * Gradients of q, k and v. The weights w are computed again, block by block; sum(dw w) over a row equals sum(dy y), which
 * never touches T x T (Dao et al. 2022, appendix B.2).
 */
export function attentionGradient(dy: Value, y: Value, operands: Operands, alpha: number, queryBlock: number): Value[] {
  const [heads, t, hd] = operands.q.shape as [number, number, number];
  const kv = operands.k.shape[0]!;
  const split = (x: Value) => g.transpose(g.reshape(x, [t, heads, x.shape[1]! / heads]), 1, 0, 2);
  const dyHeads = split(dy);
  const rows = g.transpose(g.reduceSum(g.reshape(g.mul(dy, y), [t, heads, hd]), 2), 1, 0, 2);
  const parts = blocksOf(operands, queryBlock).map((b) => {
    const c = b.end - b.start;
    const whole = c === t;
    const fold = (x: Value) =>
      g.reshape(whole ? x : g.slice(x, 1, b.start, b.end), [kv, (heads / kv) * c, x.shape[2]!]);
    const w = weightsOf(b, alpha);
    const dyBlock = fold(dyHeads);
    const ds = g.mul(g.sub(g.matmul(dyBlock, b.v, { transB: true }), fold(rows)), w);
    return {
      dq: g.reshape(g.matmul(ds, b.k, { alpha }), [heads, c, hd]),
      dk: grown(g.matmul(ds, fold(operands.q), { transA: true, alpha }), t),
      dv: grown(g.matmul(w, dyBlock, { transA: true }), t),
    };
  });
  const total = (values: Value[]) => values.reduceRight((sum, x) => g.add(x, sum));
  const concat = g.concat(
    parts.map((p) => p.dq),
    1,
  );
  return [concat, total(parts.map((p) => p.dk)), total(parts.map((p) => p.dv))];
}

/** [KV, S, hd] with zeros behind, to [KV, T, hd]. */
function grown(x: Value, t: number): Value {
  const [kv, s, hd] = x.shape as [number, number, number];
  return s === t ? x : g.concat([x, g.broadcastTo(g.scalar(0), [kv, t - s, hd])], 1);
}

/** The mask that lets position i see positions 0 ... i: [T, T], 0 or MASKED. */
export function causalMask(t: number): Float32Array {
  const mask = new Float32Array(t * t);
  for (let i = 0; i < t; i++) mask.fill(MASKED, i * t + i + 1, (i + 1) * t);
  return mask;
}
