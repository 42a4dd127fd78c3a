import { sizeOf } from "../tensor/index.js";
import { attentionGradient } from "./attention.js";
import * as g from "./build.js";
import { check, type OpName, type Value } from "./value.js";

/**
 * The vector-Jacobian product of one node: given the gradient of its output, the gradient of each input, or undefined
 * for an input that has none. Only the inputs whose `wanted` flag is set need be computed.
 */
type Rule<K extends OpName> = (dy: Value, y: Value<K>, wanted: readonly boolean[]) => readonly (Value | undefined)[];

/** Sums a gradient over the axes along which the operand of shape `like` was broadcast. */
function unbroadcast(dy: Value, like: Value): Value {
  const lead = dy.shape.length - like.shape.length;
  const axes = dy.shape.flatMap((d, i) => (i < lead || (like.shape[i - lead] === 1 && d !== 1) ? [i] : []));
  return g.reshape(axes.length ? g.reduceSum(dy, ...axes) : dy, like.shape);
}

const none: Rule<OpName> = (_, y) => y.inputs.map(() => undefined);

const onlyGenerates: Rule<OpName> = (_, { op }) =>
  check(false, op, () => "has no gradient; it only generates") as never;

/** Gradient rules of every op, written in the graph language. */
export const GRADIENTS: { readonly [K in OpName]: Rule<K> } = {
  input: none,
  constant: none,
  lessOrEqual: none,
  add: (dy, { inputs: [a, b] }) => [unbroadcast(dy, a!), unbroadcast(dy, b!)],
  sub: (dy, { inputs: [a, b] }) => [unbroadcast(dy, a!), unbroadcast(g.neg(dy), b!)],
  mul: (dy, { inputs: [a, b] }) => [unbroadcast(g.mul(dy, b!), a!), unbroadcast(g.mul(dy, a!), b!)],
  div: (dy, y) => {
    const [a, b] = y.inputs as [Value, Value];
    return [unbroadcast(g.div(dy, b), a), unbroadcast(g.neg(g.div(g.mul(dy, y as Value), b)), b)];
  },
  neg: (dy) => [g.neg(dy)],
  exp: (dy, y) => [g.mul(dy, y as Value)],
  log: (dy, { inputs: [x] }) => [g.div(dy, x!)],
  sqrt: (dy, y) => [g.div(dy, g.mul(g.scalar(2), y as Value))],
  reciprocal: (dy, y) => [g.neg(g.mul(dy, g.mul(y as Value, y as Value)))],
  sigmoid: (dy, y) => [g.mul(dy, g.mul(y as Value, g.sub(g.scalar(1), y as Value)))],
  tanh: (dy, y) => [g.mul(dy, g.sub(g.scalar(1), g.mul(y as Value, y as Value)))],
  // y = g s u with s = sigmoid(g): dg = dy u s (1 + g (1 - s)) = u (s (dy - du) + du)
  swiglu: (dy, { inputs: [gate, up] }) => {
    const s = g.sigmoid(gate!);
    const du = g.mul(g.mul(dy, gate!), s);
    return [g.mul(g.add(g.mul(g.sub(dy, du), s), du), up!), du];
  },
  cast: (dy, { inputs: [x] }) => [g.cast(dy, x!.dtype)],
  where: (dy, { inputs: [condition, a, b] }) => {
    const zero = g.scalar(0);
    return [undefined, unbroadcast(g.where(condition!, dy, zero), a!), unbroadcast(g.where(condition!, zero, dy), b!)];
  },
  // y = a b: da = dy b^T, db = a^T dy, with each transpose moved to where the operand has it
  matmul: (dy, { inputs: [a, b], attrs: { transA, transB, alpha } }, wanted) => {
    const da = () =>
      transA ? g.matmul(b!, dy, { transA: transB, transB: true, alpha }) : g.matmul(dy, b!, { transB: !transB, alpha });
    const db = () =>
      transB ? g.matmul(dy, a!, { transA: true, transB: transA, alpha }) : g.matmul(a!, dy, { transA: !transA, alpha });
    return [wanted[0] ? unbroadcast(da(), a!) : undefined, wanted[1] ? unbroadcast(db(), b!) : undefined];
  },
  matmulBits: onlyGenerates,
  cachedAttention: onlyGenerates,
  softmax: (dy, y) => {
    const w = y as Value;
    return [g.mul(w, g.sub(dy, g.reduceSum(g.mul(dy, w), w.shape.length - 1)))];
  },
  reduceSum: (dy, { inputs: [x] }) => [g.broadcastTo(dy, x!.shape)],
  reduceMean: (dy, { inputs: [x], shape }) => [
    g.broadcastTo(g.mul(dy, g.scalar(sizeOf(shape) / sizeOf(x!.shape))), x!.shape),
  ],
  reduceMax: () => check(false, "reduceMax", () => "has no gradient; it only stabilises sums of exponentials") as never,
  broadcastTo: (dy, { inputs: [x] }) => [unbroadcast(dy, x!)],
  reshape: (dy, { inputs: [x] }) => [g.reshape(dy, x!.shape)],
  transpose: (dy, { attrs: { perm } }) => [g.transpose(dy, ...perm.map((_, i) => perm.indexOf(i)))],
  slice: (dy, { inputs: [x], attrs: { axis, start, end } }) => [g.pad(dy, axis, start, x!.shape[axis]! - end)],
  pad: (dy, { inputs: [x], attrs: { axis, before } }) => [g.slice(dy, axis, before, before + x!.shape[axis]!)],
  concat: (dy, { inputs, attrs: { axis } }) => {
    let start = 0;
    return inputs.map((x) => g.slice(dy, axis, start, (start += x.shape[axis]!)));
  },
  gather: (dy, { inputs: [table, ids] }) => [g.scatterAdd(ids!, dy, table!.shape[0]!), undefined],
  scatterAdd: (dy, { inputs: [ids] }) => [undefined, g.gather(dy, ids!)],
  pick: (dy, { inputs: [x, ids] }) => [g.unpick(ids!, dy, x!.shape[1]!), undefined],
  unpick: (dy, { inputs: [ids] }) => [undefined, g.pick(dy, ids!)],
  // y = x r w with r = 1 / sqrt(mean(x^2) + eps): dx = dy w r - x r^3 mean(dy w x), dw = sum over rows of dy x r
  rmsNorm: (dy, { inputs: [x, weight], attrs: { eps } }, wanted) => {
    const last = x!.shape.length - 1;
    const r = g.reciprocal(g.sqrt(g.add(g.reduceMean(g.mul(x!, x!), last), g.scalar(eps))));
    const dx = () => {
      const gw = g.mul(dy, weight!);
      const share = g.mul(g.reduceMean(g.mul(gw, x!), last), g.mul(g.mul(r, r), r));
      return g.sub(g.mul(gw, r), g.mul(x!, share));
    };
    return [wanted[0] ? dx() : undefined, wanted[1] ? unbroadcast(g.mul(dy, g.mul(x!, r)), weight!) : undefined];
  },
  // the gradient of a rotation is the opposite rotation
  rope: (dy, { inputs: [, cos, sin], attrs: { inverse } }, wanted) => {
    check(!wanted[1] && !wanted[2], "rope", () => "has no gradient for its tables");
    return [g.rope(dy, cos!, sin!, !inverse), undefined, undefined];
  },
  attention: (dy, y, wanted) => {
    check(!wanted[3], "attention", () => "has no gradient for its mask");
    const [q, k, v, mask] = y.inputs as [Value, Value, Value, Value];
    return [...attentionGradient(dy, y as Value, { q, k, v, mask }, y.attrs), undefined];
  },
};
