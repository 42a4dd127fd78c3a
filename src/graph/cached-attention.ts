import { f32 } from "../tensor/index.js";
import { MASKED } from "./attention.js";
import * as g from "./build.js";
import type { Value } from "./value.js";

/** The operands of `cachedAttention`, in order. */
interface Operands {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly pastK: Value;
  readonly pastV: Value;
  readonly last: Value;
}

/** The composition that `cachedAttention` stands for: one softmax over cached and new positions, [R T, H hd]. */
export function expandCachedAttention({ q, k, v, pastK, pastV, last }: Operands, scale: number): Value {
  const [r, heads, t, hd] = q.shape as [number, number, number, number];
  const [, kv, c] = pastK.shape as [number, number, number];
  const masks = masksOf(last, c, t);
  const folded = (heads / kv) * t;
  const queries = g.reshape(q, [r, kv, folded, hd]);
  const grid = t === 1 ? [r, kv, folded] : [r, heads, t]; // one new token: no mask tells queries apart
  const scores = (keys: Value, width: number, mask: Value | undefined) => {
    const plain = g.reshape(g.matmul(queries, keys, { transB: true, alpha: scale }), [...grid, width]);
    return mask ? g.add(plain, mask) : plain;
  };
  const weights = g.softmax(g.concat([scores(pastK, c, masks.past), scores(k, t, masks.now)], 3));
  const part = (start: number, end: number) => g.reshape(g.slice(weights, 3, start, end), [r, kv, folded, end - start]);
  const o = g.add(g.matmul(part(0, c), pastV), g.matmul(part(c, c + t), v));
  return g.reshape(g.transpose(g.reshape(o, [r, heads, t, hd]), 0, 2, 1, 3), [r * t, heads * hd]);
}

interface Masks {
  /** Added to the scores of cached positions: hides what a cache does not hold. */
  readonly past: Value;
  /** Added to the scores of new positions: hides those that come later. */
  readonly now: Value | undefined;
}

/** Made once for all layers of a model, which read the same `last`. */
const made = new WeakMap<Value, Map<string, Masks>>();

function masksOf(last: Value, c: number, t: number): Masks {
  const bySize = made.get(last) ?? new Map<string, Masks>();
  made.set(last, bySize);
  const known = bySize.get(`${c} ${t}`);
  if (known) return known;
  const masks = {
    past: g.reshape(hiddenAfter(counting([1, c]), last), [last.shape[0]!, 1, 1, c]),
    now: t > 1 ? hiddenAfter(counting([1, t]), counting([t, 1])) : undefined,
  };
  bySize.set(`${c} ${t}`, masks);
  return masks;
}

/** What is added to scores: 0 where `position` is no later than `last`, else MASKED. */
const hiddenAfter = (position: Value, last: Value): Value =>
  g.where(g.lessOrEqual(position, last), g.scalar(0), g.scalar(MASKED));

const counting = (shape: readonly number[]): Value =>
  g.constant(
    f32(
      shape,
      Float32Array.from({ length: Math.max(...shape) }, (_, i) => i),
    ),
  );
