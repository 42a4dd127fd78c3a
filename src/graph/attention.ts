import * as g from "./build.js";
import type { AttentionAttrs, Ops, Value } from "./value.js";

/** Added to masked scores: far below any score, and finite so that no provider turns it into NaN. */
export const MASKED = -1e9;

/** The operands of `attention`, in order. */
interface Operands {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly mask: Value;
}

/**
 * Queries [start, end) with the keys [first, end) that they can see: all of them, or in blocks those from the first one's window
 * up to the block's own end. Queries are [KV, split, rows, hd], keys and values [KV, 1, keys, hd], the mask [1, end - start, keys].
 */
interface Block extends Operands {
  readonly start: number;
  readonly end: number;
  readonly first: number;
  /** [KV, H / KV, end - start, n] as the [KV, split, rows, n] of its products. */
  readonly rows: (x: Value) => Value;
  /** The opposite. */
  readonly heads: (x: Value) => Value;
}

/**
 * All queries of a block that share a key are rows of one product, so that keys and values are neither repeated nor read once
 * a head. Engines give each product of a batch to one thread: of an odd number of products, the last would leave the
 * other threads idle, so then each is split in two.
 */
function blocksOf({ q, k, v, mask }: Operands, { queryBlock, window }: Ops["attention"]): Block[] {
  const [heads, t, hd] = q.shape as [number, number, number];
  const kv = k.shape[0]!;
  const groups = heads / kv;
  const inBlocks = queryBlock > 0 && queryBlock < t;
  const size = inBlocks ? queryBlock : t;
  const grouped = g.reshape(q, [kv, groups, t, hd]);
  const beside = (x: Value, first: number, last: number) => part(g.reshape(x, [kv, 1, t, hd]), 2, first, last);
  return Array.from({ length: Math.ceil(t / size) }, (_, i) => {
    const [start, end] = [i * size, Math.min(t, (i + 1) * size)];
    const first = inBlocks && window > 0 ? Math.max(0, start + 1 - window) : 0;
    const all = groups * (end - start);
    const split = kv % 2 && all % 2 === 0 ? 2 : 1;
    const rows = (x: Value) => g.reshape(x, [kv, split, all / split, x.shape[3]!]);
    return {
      start,
      end,
      first,
      rows,
      heads: (x) => g.reshape(x, [kv, groups, end - start, x.shape[3]!]),
      q: rows(part(grouped, 2, start, end)),
      k: beside(k, first, end),
      v: beside(v, first, end),
      mask: part(part(mask, 0, start, end), 1, first, end),
    };
  });
}

const part = (x: Value, axis: number, start: number, end: number): Value =>
  start === 0 && end === x.shape[axis] ? x : g.slice(x, axis, start, end);

/** q k^T scale before any cap: [KV, split, rows, keys]. */
const scoresOf = ({ q, k }: Block, scale: number): Value => g.matmul(q, k, { transB: true, alpha: scale });

/** tanh(scores / softcap), of which softcap times is the capped score; undefined without a cap. */
const tanhOf = (scores: Value, { softcap }: AttentionAttrs): Value | undefined =>
  softcap > 0 ? g.tanh(g.div(scores, g.scalar(softcap))) : undefined;

/** softmax(cap(q k^T scale) + mask): [KV, split, rows, keys], and the cap's own tanh, where there is one. */
function weightsOf(b: Block, attrs: AttentionAttrs): { w: Value; bent: Value | undefined } {
  const scores = scoresOf(b, attrs.scale);
  const bent = tanhOf(scores, attrs);
  const capped = bent ? g.mul(bent, g.scalar(attrs.softcap)) : scores;
  return { w: b.rows(g.softmax(g.add(b.heads(capped), b.mask))), bent };
}

/** The composition that `attention` stands for: softmax(cap(q k^T scale) + mask) v, [T, H, hd]. */
export function expandAttention(operands: Operands, attrs: Ops["attention"]): Value {
  const [heads, t, hd] = operands.q.shape as [number, number, number];
  const blocks = blocksOf(operands, attrs).map((b) => b.heads(g.matmul(weightsOf(b, attrs).w, b.v)));
  return g.transpose(g.reshape(g.concat(blocks, 2), [heads, t, hd]), 1, 0, 2);
}

/**
 * Gradients of q, k and v. The weights w are computed again, block by block; sum(dw w) over a row equals sum(dy y), which
 * never touches T x T (Dao et al. 2022, appendix B.2).
 */
export function attentionGradient(dy: Value, y: Value, operands: Operands, attrs: Ops["attention"]): Value[] {
  const { q, k, v } = operands;
  const { scale } = attrs;
  const [t, kv] = [q.shape[1]!, k.shape[0]!];
  const byHead = (x: Value) => g.reshape(g.transpose(x, 1, 0, 2), [kv, q.shape[0]! / kv, t, x.shape[2]!]);
  const dyHeads = byHead(dy);
  const sums = byHead(g.reduceSum(g.mul(dy, y), 2));
  const parts = blocksOf(operands, attrs).map((b) => {
    const own = (x: Value) => b.rows(part(x, 2, b.start, b.end));
    const { w, bent } = weightsOf(b, attrs);
    const dw = g.matmul(own(dyHeads), b.v, { transB: true });
    const dCapped = g.mul(g.sub(dw, own(sums)), w);
    const ds = bent ? g.mul(dCapped, g.sub(g.scalar(1), g.mul(bent, bent))) : dCapped;
    const overQueries = (a: Value, x: Value, alpha: number) =>
      grown(summed(g.matmul(a, x, { transA: true, alpha })), b.first, t);
    return {
      dq: b.heads(g.matmul(ds, b.k, { alpha: scale })),
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

/** [KV, split, S, hd] to [KV, 1, S, hd]. */
const summed = (x: Value): Value => (x.shape[1] === 1 ? x : g.reduceSum(x, 1));

/** [KV, 1, S, hd] with zeros before it, up to `first`, and behind, to [KV, 1, T, hd]. */
function grown(x: Value, first: number, t: number): Value {
  const [kv, one, s, hd] = x.shape as [number, number, number, number];
  const zeros = (count: number) => (count > 0 ? [g.broadcastTo(g.scalar(0), [kv, one, count, hd])] : []);
  return g.concat([...zeros(first), x, ...zeros(t - first - s)], 2);
}

/** The mask that lets position i see positions 0 ... i, with a window only the last so many: [T, T], 0 or MASKED. */
export function causalMask(t: number, window = 0): Float32Array {
  const mask = new Float32Array(t * t);
  for (let i = 0; i < t; i++) {
    mask.fill(MASKED, i * t + i + 1, (i + 1) * t);
    if (window > 0) mask.fill(MASKED, i * t, i * t + Math.max(0, i + 1 - window));
  }
  return mask;
}
