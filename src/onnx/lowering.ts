import { BITS_BLOCK, expandAttention, type Fn, isOpen, type OpName, topological, type Value } from "../graph/index.js";
import type { Shape } from "../tensor/index.js";
import { lowerCachedAttention, updatedName } from "./cached-attention.js";
import { countUses, Emitter, type Lower } from "./emitter.js";
import { ELEMENT, encodeModel, type OnnxModel, type OnnxNode } from "./model.js";
import { MICROSOFT } from "./node-list.js";
import { fixedSizes, opened, reshapeSizes } from "./open-sizes.js";
import { BACKENDS, type Backend } from "./providers.js";

const plain =
  (type: string): Lower<OpName> =>
  (e, v) =>
    e.emit(
      type,
      v.inputs.map((x) => e.value(x)),
    );

const reduction =
  (type: string): Lower<"reduceSum" | "reduceMean" | "reduceMax"> =>
  (e, { inputs: [x], attrs: { axes } }) =>
    e.emit(type, [e.value(x!), e.ints(axes)], { keepdims: 1 });

/** ONNX for every op of the graph language. */
const LOWERING: { readonly [K in OpName]: Lower<K> } = {
  input: (_, { attrs: { name } }) => name,
  constant: (e, { attrs: { value } }) => e.tensor(value),
  add: (e, v) => joinedProducts(e, v) ?? gemmAdd(e, v) ?? plain("Add")(e, v as Value),
  sub: plain("Sub"),
  mul: plain("Mul"),
  div: plain("Div"),
  neg: plain("Neg"),
  exp: plain("Exp"),
  log: plain("Log"),
  sqrt: plain("Sqrt"),
  reciprocal: plain("Reciprocal"),
  sigmoid: plain("Sigmoid"),
  tanh: plain("Tanh"),
  swiglu: lowerSwiglu,
  cast: (e, { inputs: [x], attrs: { to } }) => e.emit("Cast", [e.value(x!)], { to: ELEMENT[to] }),
  lessOrEqual: plain("LessOrEqual"),
  where: plain("Where"),
  matmul: lowerMatmul,
  matmulBits: lowerMatmulBits,
  softmax: (e, { inputs: [x] }) => e.emit("Softmax", [e.value(x!)], { axis: -1 }),
  reduceSum: reduction("ReduceSum"),
  reduceMean: reduction("ReduceMean"),
  reduceMax: reduction("ReduceMax"),
  broadcastTo: (e, { inputs: [x], attrs: { shape } }) => e.emit("Expand", [e.value(x!), e.ints(fixedSizes(shape))]),
  reshape: (e, { inputs: [x], attrs: { shape } }) => e.reshape(e.value(x!), x!.shape, shape),
  transpose: (e, { inputs: [x], attrs: { perm }, shape }) =>
    movesData(x!.shape, perm) ? e.emit("Transpose", [e.value(x!)], { perm }) : e.reshape(e.value(x!), x!.shape, shape),
  slice: (e, { inputs: [x], attrs: { axis, start, end } }) =>
    e.emit("Slice", [e.value(x!), e.ints([start]), e.ints([end]), e.ints([axis])]),
  pad: (e, { inputs: [x], attrs: { axis, before, after } }) => {
    const along = (n: number) => x!.shape.map((_, i) => (i === axis ? n : 0));
    return e.emit("Pad", [e.value(x!), e.ints([...along(before), ...along(after)])]);
  },
  concat: (e, { inputs, attrs: { axis } }) =>
    e.emit(
      "Concat",
      inputs.map((x) => e.value(x)),
      { axis },
    ),
  gather: (e, { inputs: [table, ids] }) => e.emit("Gather", [e.value(table!), e.value(ids!)], { axis: 0 }),
  scatterAdd: (e, { inputs: [ids, updates], shape, dtype }) =>
    e.emit("ScatterND", [e.zeros(dtype, shape), column(e, ids!), e.value(updates!)], { reduction: "add" }),
  pick: (e, { inputs: [x, ids] }) => {
    const picked = e.emit("GatherElements", [e.value(x!), columns(e, ids!)], { axis: 1 });
    return ids!.shape.length === 2 ? picked : e.emit("Squeeze", [picked, e.ints([1])]);
  },
  unpick: (e, { inputs: [ids, values], shape, dtype }) =>
    e.emit("ScatterElements", [e.zeros(dtype, shape), columns(e, ids!), columns(e, values!)], { axis: 1 }),
  rmsNorm: lowerRmsNorm,
  rope: lowerRope,
  attention: (e, v) => {
    const [q, k, value, mask] = v.inputs as [Value, Value, Value, Value];
    return e.expanded(v, expandAttention({ q, k, v: value, mask }, v.attrs));
  },
  cachedAttention: lowerCachedAttention,
};

/** Whether axes of more than one entry change their order. Of open sizes it is taken for granted. */
function movesData(shape: Shape, perm: readonly number[]): boolean {
  if (shape.some(isOpen)) return true;
  const wide = perm.filter((axis) => shape[axis] !== 1);
  return wide.some((axis, i) => i > 0 && axis < wide[i - 1]!);
}

/** [n] as [n, 1]. */
const column = (e: Emitter, x: Value): string => e.emit("Unsqueeze", [e.value(x), e.ints([1])]);

/** The same of [n]; [n, k] as it is. */
const columns = (e: Emitter, x: Value): string => (x.shape.length === 1 ? column(e, x) : e.value(x));

function lowerMatmul(e: Emitter, v: Value<"matmul">): string {
  const [a, b] = v.inputs as [Value, Value];
  const { transA, transB, alpha } = v.attrs;
  if (!transA && !transB && alpha === 1) return e.emit("MatMul", [e.value(a), e.value(b)]);
  const attributes = { transA: Number(transA), transB: Number(transB), alpha: { float: alpha } };
  // OpenVINO multiplies bf16 weights by Gemm's alpha, even by 1, in a copy of their own
  if (a.shape.length === 2 && b.shape.length === 2 && a.dtype === "f32")
    return e.emit("Gemm", [e.value(a), e.value(b)], attributes);
  if (e.capabilities.fusedMatMul) return e.emit("FusedMatMul", [e.value(a), e.value(b)], attributes, MICROSOFT);
  const product = e.emit("MatMul", [swapped(e, a, transA), swapped(e, b, transB)]);
  return alpha === 1 ? product : e.emit("Mul", [product, e.scalar(alpha)]);
}

/** MatMulNBits' computation in whole numbers, which needs fixed weights; with others it takes fp32. */
const WHOLE_NUMBERS = 4;

function lowerMatmulBits(e: Emitter, v: Value<"matmulBits">): string {
  const [x, codes, scales, zeros] = v.inputs.map((input) => e.value(input)) as [string, string, string, string];
  const { bits } = v.attrs;
  const [n, k] = [v.shape[1]!, v.inputs[0]!.shape[1]!];
  if (e.capabilities.matMulNBits) {
    const attributes = { K: k, N: n, bits, block_size: BITS_BLOCK, accuracy_level: WHOLE_NUMBERS };
    return e.emit("MatMulNBits", [x, codes, scales, zeros], attributes, MICROSOFT);
  }
  const blocks = k / BITS_BLOCK;
  const reshaped = (name: string, ...shape: number[]) => e.emit("Reshape", [name, e.ints(shape)]);
  const values = reshaped(halves(e, codes, bits), n, blocks, BITS_BLOCK);
  const zeroRows = reshaped(halves(e, zeros, bits), n, (v.inputs[3]!.shape[0]! * (8 / bits)) / n);
  const zero = e.emit("Slice", [zeroRows, e.ints([0]), e.ints([blocks]), e.ints([1])]);
  const centred = e.emit("Sub", [values, reshaped(zero, n, blocks, 1)]);
  const weights = reshaped(e.emit("Mul", [centred, reshaped(scales, n, blocks, 1)]), n, k);
  return e.emit("Gemm", [x, weights], { transB: 1 });
}

/** Bytes as numbers; of 4 bits each as two, the low half first, in a new last dimension. */
function halves(e: Emitter, bytes: string, bits: 4 | 8): string {
  const numbers = e.emit("Cast", [bytes], { to: ELEMENT.f32 });
  if (bits === 8) return numbers;
  const high = e.emit("Floor", [e.emit("Mul", [numbers, e.scalar(1 / 16)])]);
  const low = e.emit("Sub", [numbers, e.emit("Mul", [high, e.scalar(16)])]);
  const last = (name: string) => e.emit("Unsqueeze", [name, e.ints([-1])]);
  return e.emit("Concat", [last(low), last(high)], { axis: -1 });
}

function swapped(e: Emitter, x: Value, transposed: boolean): string {
  if (!transposed) return e.value(x);
  const rank = x.shape.length;
  const perm = Array.from({ length: rank }, (_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i));
  return e.emit("Transpose", [e.value(x)], { perm });
}

/** Right-hand sides are joined in a copy: up to so many values, that takes less than it saves. */
const MOST_JOINED = 2 ** 20;

/** a b + c d + e f + ... as [a c e ...] times b, d, f, ... one below the other, from three terms on. */
function joinedProducts(e: Emitter, v: Value<"add">): string | undefined {
  if (!e.capabilities.roundsProducts) return undefined;
  const terms = termsOf(e, v);
  const own = (x: Value) => isPlainProduct(x) && `${x.shape}` === `${v.shape}` && e.uses.get(x) === 1;
  if (terms.length < 3 || !terms.every(own)) return undefined;
  const [left, right] = [0, 1].map((side) => terms.map(({ inputs }) => inputs[side]!)) as [Value[], Value[]];
  if (right.reduce((n, { shape }) => n + shape[0]! * shape[1]!, 0) > MOST_JOINED) return undefined;
  const joined = (values: readonly Value[], axis: number) =>
    e.emit(
      "Concat",
      values.map((x) => e.value(x)),
      { axis },
    );
  return e.emit("MatMul", [joined(left, 1), joined(right, 0)]);
}

/** What a tree of sums, each of whose parts nobody else reads, adds up. */
const termsOf = (e: Emitter, v: Value): Value[] =>
  v.inputs.flatMap((x) =>
    x.op === "add" && `${x.shape}` === `${v.shape}` && e.uses.get(x) === 1 ? termsOf(e, x) : [x],
  );

function isPlainProduct(v: Value): boolean {
  if (v.op !== "matmul" || v.shape.length !== 2) return false;
  const { transA, transB, alpha } = (v as Value<"matmul">).attrs;
  return !transA && !transB && alpha === 1;
}

/** c + a b as one Gemm, where the product is two-dimensional and nobody else reads it. */
function gemmAdd(e: Emitter, v: Value<"add">): string | undefined {
  const whole = (x: Value) => `${x.shape}` === `${v.shape}`;
  const at = [1, 0].find((i) => {
    const x = v.inputs[i]!;
    return (
      x.op === "matmul" &&
      x.shape.length === 2 &&
      x.inputs.every((y) => y.shape.length === 2) &&
      whole(x) &&
      e.uses.get(x) === 1 &&
      !e.names.has(x)
    );
  });
  const other = v.inputs[at === 1 ? 0 : 1];
  if (at === undefined || !(whole(other!) || other!.shape.length === 1)) return undefined;
  const { inputs, attrs } = v.inputs[at] as Value<"matmul">;
  const c = e.value(other!);
  const attributes = { transA: Number(attrs.transA), transB: Number(attrs.transB), alpha: { float: attrs.alpha } };
  return e.emit("Gemm", [e.value(inputs[0]!), e.value(inputs[1]!), c], attributes);
}

/** gate sigmoid(gate) in one pass, unless the sigmoid is there already because the graph needs it too, as a gradient does. */
function lowerSwiglu(e: Emitter, { inputs: [gate, up] }: Value<"swiglu">): string {
  const sigmoid = e.sigmoids.get(gate!);
  const silu =
    e.capabilities.quickGelu && !sigmoid
      ? e.emit("QuickGelu", [e.value(gate!)], { alpha: { float: 1 } }, MICROSOFT)
      : e.emit("Mul", [e.value(gate!), sigmoid ? e.value(sigmoid) : e.emit("Sigmoid", [e.value(gate!)])]);
  return e.emit("Mul", [silu, e.value(up!)]);
}

function lowerRmsNorm(e: Emitter, v: Value<"rmsNorm">): string {
  const [x, weight] = v.inputs.map((input) => e.value(input)) as [string, string];
  const { eps } = v.attrs;
  if (e.capabilities.simplifiedLayerNorm) {
    return e.emit("SimplifiedLayerNormalization", [x, weight], { epsilon: { float: eps }, axis: -1 });
  }
  const mean = e.emit("ReduceMean", [e.emit("Mul", [x, x]), e.ints([v.shape.length - 1])], { keepdims: 1 });
  const deviation = e.emit("Sqrt", [e.emit("Add", [mean, e.scalar(eps)])]);
  return e.emit("Mul", [e.emit("Div", [x, deviation]), weight]);
}

function lowerRope(e: Emitter, v: Value<"rope">): string {
  const [x, cos, sine] = v.inputs.map((input) => e.value(input)) as [string, string, string];
  const sin = v.attrs.inverse ? e.emit("Neg", [sine]) : sine;
  const [t, h, hd] = v.shape as [number, number, number];
  if (e.capabilities.rotaryEmbedding) {
    const joined = [1, t, h * hd];
    const batched = e.reshape(x, v.shape, joined);
    const rotated = e.emit("RotaryEmbedding", [batched, e.ints([0]), cos, sin], {}, MICROSOFT);
    return e.reshape(rotated, joined, v.shape);
  }
  // of just this form, with four dimensions and a last axis of -1, OpenVINO makes one kernel
  const [from, four] = [v.shape, [1, t, h, hd]];
  const wide = e.emit("Reshape", [x, e.ints(reshapeSizes(from, four))]);
  const half = (start: number) => e.emit("Slice", [wide, e.ints([start]), e.ints([start + hd / 2]), e.ints([3])]);
  const turned = e.emit("Concat", [e.emit("Mul", [half(hd / 2), e.scalar(-1)]), half(0)], { axis: -1 });
  const [c, s] = [cos, sin].map((table) => {
    const both = e.emit("Concat", [table, table], { axis: 1 });
    return e.emit("Reshape", [both, e.ints(reshapeSizes([t, hd], [1, t, 1, hd]))]);
  }) as [string, string];
  const rotated = e.emit("Add", [e.emit("Mul", [wide, c]), e.emit("Mul", [turned, s])]);
  return e.emit("Reshape", [rotated, e.ints(reshapeSizes(four, from))]);
}

/**
 * Lowers a function to an ONNX model for one backend. Inputs that nothing reads are left out of the model; those in `fixed` are
 * initializers whose values the engine is given beside it, so that it can lay them out as it likes.
 */
export function lower(f: Fn, backend: Backend, fixed: ReadonlySet<string> = new Set()): OnnxModel {
  const e = new Emitter(BACKENDS[backend], (emitter, v) => (LOWERING[v.op] as Lower<OpName>)(emitter, v));
  const order = topological(Object.values(f.outputs));
  countUses(e, order);
  for (const v of order) if (v.op === "sigmoid") e.sigmoids.set(v.inputs[0]!, v);
  for (const v of Object.values(f.outputs)) e.uses.set(v, (e.uses.get(v) ?? 0) + 1);
  const used = new Set(order);
  const results = Object.entries(f.outputs).map(([name, v]) => ({
    ...opened({ name, dtype: v.dtype, shape: v.shape }),
    from: e.value(v),
  }));
  const updates = e.updates.map(({ input: { attrs, dtype, shape }, from }) => ({
    name: updatedName(attrs.name),
    dtype,
    shape,
    from,
  }));
  const outputs = [...results, ...updates];
  const inputs = Object.entries(f.inputs).filter(([, v]) => used.has(v));
  const nodes = named(needed(e, outputs), outputs);
  const read = new Set(nodes.flatMap((n) => n.inputs));
  return {
    name: f.name,
    nodes,
    initializers: new Map([...e.initializers].filter(([name]) => read.has(name))),
    inputs: inputs
      .filter(([name]) => !fixed.has(name))
      .map(declared)
      .map(opened),
    external: inputs.filter(([name]) => fixed.has(name)).map(declared),
    outputs,
  };
}

const declared = ([name, { dtype, shape }]: readonly [string, Value]) => ({ name, dtype, shape });

/**
 * The inputs that an engine should be given with the program where they never change: weights of products, which it reads faster
 * in an order of its own (a second copy, shared by all programs), and vectors, which are small. Those of few bits it cannot
 * multiply well otherwise.
 */
export function reorderedInputs(f: Fn): string[] {
  const [weights, others] = [new Set<Value>(), new Set<Value>()];
  for (const v of topological(Object.values(f.outputs))) {
    const isWeight = (x: Value, i: number) =>
      x.shape.length === 1 || (i > 0 && (v.op === "matmulBits" || (v.op === "matmul" && x.shape.length === 2)));
    for (const [i, x] of v.inputs.entries()) (isWeight(x, i) ? weights : others).add(x);
  }
  return Object.keys(f.inputs).filter((name) => weights.has(f.inputs[name]!) && !others.has(f.inputs[name]!));
}

/** The nodes that outputs are made of: a reshape that the next one did without is dropped. */
function needed({ nodes }: Emitter, outputs: readonly { from: string }[]): OnnxNode[] {
  const read = new Set(outputs.map(({ from }) => from));
  const kept: OnnxNode[] = [];
  for (const node of nodes.toReversed()) {
    if (!node.outputs.some((name) => read.has(name))) continue;
    for (const name of node.inputs) read.add(name);
    kept.push(node);
  }
  return kept.reverse();
}

/** Gives results their output names: by renaming what a node makes, by an Identity for inputs, constants and repeats. */
function named(all: readonly OnnxNode[], outputs: readonly { name: string; from: string }[]): OnnxNode[] {
  const made = new Set(all.flatMap((n) => n.outputs));
  const renames = new Map<string, string>();
  const copies: OnnxNode[] = [];
  for (const { name, from } of outputs) {
    if (made.has(from) && !renames.has(from)) renames.set(from, name);
    else
      copies.push({
        type: "Identity",
        domain: "",
        inputs: [renames.get(from) ?? from],
        outputs: [name],
        attributes: {},
      });
  }
  const rename = (name: string) => renames.get(name) ?? name;
  const nodes = all.map((n) => ({ ...n, inputs: n.inputs.map(rename), outputs: n.outputs.map(rename) }));
  return [...nodes, ...copies];
}

/** Lowers a function to the bytes of an ONNX model. */
export function toOnnx(f: Fn, backend: Backend, fixed?: ReadonlySet<string>): Uint8Array {
  return encodeModel(lower(f, backend, fixed));
}
