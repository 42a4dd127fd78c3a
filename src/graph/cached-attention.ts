import { f32 } from "../tensor/index.js";
import { MASKED } from "./attention.js";
import * as g from "./build.js";
import type { AttentionAttrs, Value } from "./value.js";

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
export function expandCachedAttention({ q, k, v, pastK, pastV, last }: Operands, attrs: AttentionAttrs): Value {
  const { scale, softcap, window } = attrs;
  const [r, heads, t, hd] = q.shape as [number, number, number, number];
  const [, kv, c] = pastK.shape as [number, number, number];
  const masks = masksOf(last, c, t, window);
  const folded = (heads / kv) * t;
  const queries = g.reshape(q, [r, kv, folded, hd]);
  const grid = t === 1 ? [r, kv, folded] : [r, heads, t]; // one new token: no mask tells queries apart
  const scores = (keys: Value, width: number, mask: Value | undefined) => {
    const plain = g.reshape(g.matmul(queries, keys, { transB: true, alpha: scale }), [...grid, width]);
    const capped = softcap > 0 ? g.mul(g.tanh(g.div(plain, g.scalar(softcap))), g.scalar(softcap)) : plain;
    return mask ? g.add(capped, mask) : capped;
  };
  const weights = g.softmax(g.concat([scores(pastK, c, masks.past), scores(k, t, masks.now)], 3));
  const part = (start: number, end: number) => g.reshape(g.slice(weights, 3, start, end), [r, kv, folded, end - start]);
  const o = g.add(g.matmul(part(0, c), pastV), g.matmul(part(c, c + t), v));
  return g.reshape(g.transpose(g.reshape(o, [r, heads, t, hd]), 0, 2, 1, 3), [r * t, heads * hd]);
}

interface Masks {
  /** Added to the scores of cached positions: hides what a cache does not hold and what is out of the window. */
  readonly past: Value;
  /** Added to the scores of new positions: hides those that come later and those out of the window. */
  readonly now: Value | undefined;
}

/** Made once for all layers of a model, which read the same `last`. */
const made = new WeakMap<Value, Map<string, Masks>>();

function masksOf(last: Value, c: number, t: number, window: number): Masks {
  const bySize = made.get(last) ?? new Map<string, Masks>();
  made.set(last, bySize);
  const key = `${c} ${t} ${window}`;
  const known = bySize.get(key);
  if (known) return known;
  const [rows, row] = [last.shape[0]!, counting([t, 1])];
  const there = hiddenAfter(counting([1, c]), last);
  const masks = {
    past: window
      ? g.add(g.reshape(there, [rows, 1, 1, c]), outOfWindow(last, c, t, window))
      : g.reshape(there, [rows, 1, 1, c]),
    now: t > 1 ? nowMask(row, t, window) : undefined,
  };
  bySize.set(key, masks);
  return masks;
}

/** Hides cached positions that are `window` or more before new token i, at last + 1 + i: [R, 1, T, C]. */
function outOfWindow(last: Value, c: number, t: number, window: number): Value {
  const rows = last.shape[0]!;
  const first = g.add(g.reshape(last, [rows, 1, 1, 1]), g.add(counting([t, 1]), g.scalar(2 - window)));
  return hiddenAfter(first, counting([1, c]));
}

function nowMask(row: Value, t: number, window: number): Value {
  const later = hiddenAfter(counting([1, t]), row);
  return window > 0 && window < t
    ? g.add(later, hiddenAfter(g.sub(row, g.scalar(window - 1)), counting([1, t])))
    : later;
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
