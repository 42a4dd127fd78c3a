import { type DType, f32, type HostTensor, type Shape } from "../tensor/index.js";
import { SHAPES } from "./shapes.js";
import type { AttentionAttrs, OpName, Ops, Value } from "./value.js";

/** Makes a node after inferring its shape. Throws GraphError naming the op and the shapes that do not fit. */
function node<K extends OpName>(op: K, inputs: readonly Value[], attrs: Ops[K]): Value {
  const { dtype, shape } = SHAPES[op](inputs, attrs, op);
  return { op, inputs, attrs, dtype, shape } as Value;
}

export const constant = (value: HostTensor): Value => node("constant", [], { value });
/** An fp32 scalar. */
export const scalar = (x: number): Value => constant(f32([], [x]));

export const add = (a: Value, b: Value): Value => node("add", [a, b], {});
export const sub = (a: Value, b: Value): Value => node("sub", [a, b], {});
export const mul = (a: Value, b: Value): Value => node("mul", [a, b], {});
export const div = (a: Value, b: Value): Value => node("div", [a, b], {});
export const neg = (x: Value): Value => node("neg", [x], {});
export const exp = (x: Value): Value => node("exp", [x], {});
export const log = (x: Value): Value => node("log", [x], {});
export const sqrt = (x: Value): Value => node("sqrt", [x], {});
export const reciprocal = (x: Value): Value => node("reciprocal", [x], {});
export const sigmoid = (x: Value): Value => node("sigmoid", [x], {});
export const tanh = (x: Value): Value => node("tanh", [x], {});
export const swiglu = (gate: Value, up: Value): Value => node("swiglu", [gate, up], {});
export const cast = (x: Value, to: DType): Value => (x.dtype === to ? x : node("cast", [x], { to }));
export const lessOrEqual = (a: Value, b: Value): Value => node("lessOrEqual", [a, b], {});
export const where = (condition: Value, a: Value, b: Value): Value => node("where", [condition, a, b], {});
export const softmax = (x: Value): Value => node("softmax", [x], {});
export const reduceSum = (x: Value, ...axes: number[]): Value => node("reduceSum", [x], { axes });
export const reduceMean = (x: Value, ...axes: number[]): Value => node("reduceMean", [x], { axes });
export const reduceMax = (x: Value, ...axes: number[]): Value => node("reduceMax", [x], { axes });
export const broadcastTo = (x: Value, shape: Shape): Value => node("broadcastTo", [x], { shape });
export const transpose = (x: Value, ...perm: number[]): Value => node("transpose", [x], { perm });
export const slice = (x: Value, axis: number, start: number, end: number): Value =>
  node("slice", [x], { axis, start, end });
/** x with zeros before and behind it along an axis; x itself without any. */
export const pad = (x: Value, axis: number, before: number, after: number): Value =>
  before + after === 0 ? x : node("pad", [x], { axis, before, after });
export const concat = (inputs: readonly Value[], axis: number): Value =>
  inputs.length === 1 ? inputs[0]! : node("concat", inputs, { axis });
export const gather = (table: Value, ids: Value): Value => node("gather", [table, ids], {});
export const scatterAdd = (ids: Value, updates: Value, rows: number): Value =>
  node("scatterAdd", [ids, updates], { rows });
export const pick = (x: Value, ids: Value): Value => node("pick", [x, ids], {});
export const unpick = (ids: Value, values: Value, width: number): Value => node("unpick", [ids, values], { width });
export const rmsNorm = (x: Value, weight: Value, eps: number): Value => node("rmsNorm", [x, weight], { eps });
export const rope = (x: Value, cos: Value, sin: Value, inverse = false): Value =>
  node("rope", [x, cos, sin], { inverse });
export const attention = (
  q: Value,
  k: Value,
  v: Value,
  mask: Value,
  { scale, softcap = 0, window = 0, queryBlock = 0 }: { scale: number } & Partial<Ops["attention"]>,
): Value => node("attention", [q, k, v, mask], { scale, softcap, window, queryBlock });

/** See `Ops.cachedAttention`. */
export const cachedAttention = (
  [q, k, v]: readonly [Value, Value, Value],
  [pastK, pastV]: readonly [Value, Value],
  last: Value,
  { scale, softcap = 0, window = 0 }: { scale: number } & Partial<AttentionAttrs>,
): Value => node("cachedAttention", [q, k, v, pastK, pastV, last], { scale, softcap, window });

export const matmulBits = (x: Value, codes: Value, scales: Value, zeros: Value, bits: 4 | 8): Value =>
  node("matmulBits", [x, codes, scales, zeros], { bits });

/** x in another shape of the same size; x itself when the shape is already right. */
export function reshape(x: Value, shape: Shape): Value {
  const unchanged = shape.length === x.shape.length && shape.every((d, i) => d === x.shape[i]);
  return unchanged ? x : node("reshape", [x], { shape });
}

/** a b with optional transposes of the last two axes, times alpha. */
export function matmul(a: Value, b: Value, { transA = false, transB = false, alpha = 1 } = {}): Value {
  return node("matmul", [a, b], { transA, transB, alpha });
}
