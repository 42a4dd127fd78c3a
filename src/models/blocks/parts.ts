import type { BlockOps, Projections } from "../block.js";

/** Queries, keys and values of h [n, D], out of one fused layer where the model has that. */
export function projections<T>(ops: BlockOps<T>, h: T): Projections<T> {
  const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim: hd, fused } = ops.config;
  if (!fused) return { q: ops.linear("q_proj", h), k: ops.linear("k_proj", h), v: ops.linear("v_proj", h) };
  const [q, k, v] = ops.split(ops.linear("qkv_proj", h), [heads * hd, kv * hd, kv * hd]) as [T, T, T];
  return { q, k, v };
}

/** Norms of queries and keys, where the model has them, and rotary positions. */
export function positioned<T>(ops: BlockOps<T>, { q, k, v }: Projections<T>): Projections<T> {
  const { numAttentionHeads: heads, numKeyValueHeads: kv, qkNorm } = ops.config;
  const normed = (name: string, x: T, count: number) =>
    qkNorm === undefined ? x : ops.norm(name, x, qkNorm === "head" ? count : 1);
  return { q: ops.rotate(normed("q_norm", q, heads), heads), k: ops.rotate(normed("k_norm", k, kv), kv), v };
}

/** The gated MLP (Shazeer 2020) of h [n, D]. */
export function mlp<T>(ops: BlockOps<T>, h: T): T {
  const { fused, intermediateSize: f } = ops.config;
  const [gate, up] = (
    fused ? ops.split(ops.linear("gate_up_proj", h), [f, f]) : [ops.linear("gate_proj", h), ops.linear("up_proj", h)]
  ) as [T, T];
  return ops.linear("down_proj", ops.gated(gate, up));
}
