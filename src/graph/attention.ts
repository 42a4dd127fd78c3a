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

/**
 * Queries [H, T, hd] grouped by the key they share, [KV, H / KV, T, hd]; keys and values beside them, [KV, 1, T, hd]: products
 * repeat neither, and engines spread them over threads by head.
 */
function grouped({ q, k, v, mask }: Operands): Operands {
  const [heads, t, hd] = q.shape as [number, number, number];
  const kv = k.shape[0]!;
  const beside = (x: Value) => g.reshape(x, [kv, 1, t, hd]);
  return { q: g.reshape(q, [kv, heads / kv, t, hd]), k: beside(k), v: beside(v), mask };
}

function blocksOf({ q, k, v, mask }: Operands, queryBlock: number): Block[] {
  const t = q.shape[2]!;
  if (!queryBlock || queryBlock >= t) return [{ q, k, v, mask, start: 0, end: t }];
  return Array.from({ length: Math.ceil(t / queryBlock) }, (_, i) => {
    const [start, end] = [i * queryBlock, Math.min(t, (i + 1) * queryBlock)];
    const seen = part(part(mask, 0, start, end), 1, 0, end);
    return { q: part(q, 2, start, end), k: part(k, 2, 0, end), v: part(v, 2, 0, end), mask: seen, start, end };
  });
}

const part = (x: Value, axis: number, start: number, end: number): Value =>
  start === 0 && end === x.shape[axis] ? x : g.slice(x, axis, start, end);

/** softmax(q k^T scale + mask): [KV, H / KV, queries, keys]. */
const weightsOf = ({ q, k, mask }: Operands, scale: number): Value =>
  g.softmax(g.add(g.matmul(q, k, { transB: true, alpha: scale }), mask));

/** The composition that `attention` stands for: softmax(q k^T scale + mask) v with the heads joined, [T, H hd]. */
export function expandAttention(operands: Operands, scale: number, queryBlock: number): Value {
  const [heads, t, hd] = operands.q.shape as [number, number, number];
  const blocks = blocksOf(grouped(operands), queryBlock).map((b) => g.matmul(weightsOf(b, scale), b.v));
  return g.reshape(g.transpose(g.concat(blocks, 2), 2, 0, 1, 3), [t, heads * hd]);
}

/**
 * Gradients of q, k and v. The weights w are computed again, block by block; sum(dw w) over a row equals sum(dy y), which
 * never touches T x T (Dao et al. 2022, appendix B.2).
 */
export function attentionGradient(dy: Value, y: Value, operands: Operands, scale: number, queryBlock: number): Value[] {
  const { q, k, v } = operands;
  const [t, kv] = [q.shape[1]!, k.shape[0]!];
  const split = (x: Value, width: number) => g.transpose(g.reshape(x, [t, kv, q.shape[0]! / kv, width]), 1, 2, 0, 3);
  const dyHeads = split(dy, q.shape[2]!);
  const sums = split(g.reduceSum(g.reshape(g.mul(dy, y), [t, ...q.shape.filter((_, i) => i !== 1)]), 2), 1);
  const parts = blocksOf(grouped(operands), queryBlock).map((b) => {
    const own = (x: Value) => part(x, 2, b.start, b.end);
    const w = weightsOf(b, scale);
    const dw = g.matmul(own(dyHeads), b.v, { transB: true });
    const ds = g.mul(g.sub(dw, own(sums)), w);
    const overQueries = (a: Value, x: Value, alpha: number) =>
      grown(g.reduceSum(g.matmul(a, x, { transA: true, alpha }), 1), t);
    return {
      dq: g.matmul(ds, b.k, { alpha: scale }),
      dk: overQueries(ds, b.q, scale),
      dv: overQueries(w, own(dyHeads), 1),
    };
  });
  const total = (values: Value[]) => values.reduceRight((sum, x) => g.add(x, sum));
  const dq = g.concat(
    parts.map((p) => p.dq),
    2,
  );
  const [dk, dv] = [total(parts.map((p) => p.dk)), total(parts.map((p) => p.dv))];
  return [g.reshape(dq, q.shape), g.reshape(dk, k.shape), g.reshape(dv, v.shape)];
}

/** [KV, 1, S, hd] with zeros behind, to [KV, 1, T, hd]. */
function grown(x: Value, t: number): Value {
  const [kv, one, s, hd] = x.shape as [number, number, number, number];
  return s === t ? x : g.concat([x, g.broadcastTo(g.scalar(0), [kv, one, t - s, hd])], 2);
}

/** The mask that lets position i see positions 0 ... i: [T, T], 0 or MASKED. */
export function causalMask(t: number): Float32Array {
  const mask = new Float32Array(t * t);
  for (let i = 0; i < t; i++) mask.fill(MASKED, i * t + i + 1, (i + 1) * t);
  return mask;
}
