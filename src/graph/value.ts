import type { DType, HostTensor, Shape } from "../tensor/index.js";

type None = Record<never, never>;

/**
 * Every operation of the graph language with its attributes. Shapes (`shapes.ts`), gradients (`gradients.ts`), float64
 * semantics (`reference.ts`) and ONNX lowering (`onnx/lowering.ts`) are total records over these keys.
 */
export interface Ops {
  input: { name: string };
  constant: { value: HostTensor };
  add: None;
  sub: None;
  mul: None;
  div: None;
  neg: None;
  exp: None;
  log: None;
  sqrt: None;
  reciprocal: None;
  sigmoid: None;
  tanh: None;
  /** (gate, up) of one shape -> gate sigmoid(gate) up (Shazeer 2020). */
  swiglu: None;
  cast: { to: DType };
  lessOrEqual: None;
  where: None;
  /** a b, with either side transposed in its last two axes, times alpha. Leading axes broadcast. */
  matmul: { transA: boolean; transB: boolean; alpha: number };
  /**
   * (x [M, K], codes [N, K/32, 4 bits] u8, scales [N K/32], zeros u8) -> x W^T [M, N], with W[n, k] = scale (q - zero) in blocks
   * of 32 along K. `bits` 4: two values a byte, the first in the low half, zeros likewise [N ceil(K/64)]; 8: one, zeros [N K/32].
   * Where the weights are fixed, an engine may round x to 8 bits in blocks of 32 and multiply whole numbers.
   */
  matmulBits: { bits: 4 | 8 };
  /** Over the last axis. */
  softmax: None;
  reduceSum: { axes: readonly number[] };
  reduceMean: { axes: readonly number[] };
  reduceMax: { axes: readonly number[] };
  broadcastTo: { shape: Shape };
  reshape: { shape: Shape };
  transpose: { perm: readonly number[] };
  slice: { axis: number; start: number; end: number };
  /** Zeros before and behind along an axis. */
  pad: { axis: number; before: number; after: number };
  concat: { axis: number };
  /** (table [V, D], ids [n]) -> [n, D] */
  gather: None;
  /** (ids [n], updates [n, D]) -> [rows, D]; equal ids add up. */
  scatterAdd: { rows: number };
  /** (x [n, V], ids [n]) -> [n]: x[i, ids[i]]; with ids [n, k] -> [n, k] */
  pick: None;
  /** (ids [n], values [n]) -> [n, width]: values[i] at column ids[i], else 0; of ids [n, k] those of a row must differ. */
  unpick: { width: number };
  /** (x [..., D], weight [D]) -> x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich 2019). */
  rmsNorm: { eps: number };
  /** (x [T, H, hd], cos [T, hd/2], sin [T, hd/2]): rotates the halves (RoFormer eq. 34, Hugging Face layout). */
  rope: { inverse: boolean };
  /**
   * (q [H, T, hd], k [KV, T, hd], v [KV, T, hd], mask [T, T]) -> [T, H, hd]: softmax(cap(q k^T scale) + mask) v. With
   * `queryBlock` the mask must be causal: queries are taken so many at a time, and keys behind a block are never touched;
   * nor are keys that are `window` or more positions before it, which the mask must hide.
   */
  attention: AttentionAttrs & { queryBlock: number };
  /**
   * (q [R, H, T, hd], k, v [R, KV, T, hd], pastK, pastV [R, KV, C, hd], last [R, 1]) -> [R T, H hd]: T new tokens of each of R
   * texts attend to positions 0 ... last of its cache (-1: none), and to the new ones up to themselves, of both to those that are
   * fewer than `window` positions before. An engine may write k and v into pastK and pastV, from position last + 1 on.
   */
  cachedAttention: AttentionAttrs;
}

/** What scores are made of beside queries and keys. */
export interface AttentionAttrs {
  /** Factor on q k^T. */
  readonly scale: number;
  /** cap(s) = softcap tanh(s / softcap); 0: s itself. */
  readonly softcap: number;
  /** Positions that a token sees, itself included; 0: all before it. */
  readonly window: number;
}

export type OpName = keyof Ops;

/** One node of a graph, immutable: what computes it, from what, and the dtype and shape that result. */
export interface Value<K extends OpName = OpName> {
  readonly op: K;
  readonly inputs: readonly Value[];
  readonly attrs: Ops[K];
  readonly dtype: DType;
  readonly shape: Shape;
}

/** The dtype and shape of a function's input. */
export interface Spec {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A function of the graph language: named inputs to named outputs. Order of keys is the order of arguments. */
export interface Fn {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Value>>;
  readonly outputs: Readonly<Record<string, Value>>;
}

/** Declares an input of the function being defined (fp32 unless said otherwise) and returns its value. */
export type Declare = (name: string, shape: Shape, dtype?: DType) => Value;

/** Defines a function: `body` declares the inputs it needs, in order, and returns the outputs by name. */
export function define(name: string, body: (declare: Declare) => Record<string, Value>): Fn {
  const inputs: Record<string, Value> = {};
  const outputs = body((key, shape, dtype = "f32") => (inputs[key] ??= input(key, { dtype, shape })));
  return { name, inputs, outputs };
}

/** A free input of the given dtype and shape. */
export function input(name: string, spec: Spec): Value {
  return { op: "input", inputs: [], attrs: { name }, dtype: spec.dtype, shape: spec.shape } as Value;
}

/** The values below `outputs` (themselves included), each after everything it is computed from. */
export function topological(outputs: Iterable<Value>): Value[] {
  const order: Value[] = [];
  const seen = new Set<Value>();
  for (const output of outputs) {
    const stack: [Value, number][] = [[output, 0]];
    while (stack.length) {
      const top = stack[stack.length - 1]!;
      const [value, next] = top;
      if (next === 0 && seen.has(value)) {
        stack.pop();
      } else if (next < value.inputs.length) {
        seen.add(value);
        top[1]++;
        const child = value.inputs[next]!;
        if (!seen.has(child)) stack.push([child, 0]);
      } else {
        seen.add(value);
        order.push(value);
        stack.pop();
      }
    }
  }
  return order;
}

/** Rebuilds `outputs` with some values replaced; what lies below a replaced value is dropped. */
export function substitute(outputs: readonly Value[], replacements: ReadonlyMap<Value, Value>): Value[] {
  const done = new Map<Value, Value>(replacements);
  const order = topologicalUntil(outputs, replacements);
  for (const value of order) {
    const inputs = value.inputs.map((v) => done.get(v)!);
    done.set(value, inputs.every((v, i) => v === value.inputs[i]) ? value : { ...value, inputs });
  }
  return outputs.map((v) => done.get(v)!);
}

function topologicalUntil(outputs: readonly Value[], stop: ReadonlyMap<Value, Value>): Value[] {
  const order: Value[] = [];
  const seen = new Set<Value>(stop.keys());
  const visit = (value: Value) => {
    if (seen.has(value)) return;
    seen.add(value);
    value.inputs.forEach(visit);
    order.push(value);
  };
  outputs.forEach(visit);
  return order;
}

/** A mistake in a graph: a bug in a model function, never the user's. */
export class GraphError extends Error {
  override name = "GraphError";
}

/** Throws GraphError "op: message" unless the condition holds. */
export function check(condition: boolean, op: string, message: () => string): void {
  if (!condition) throw new GraphError(`${op}: ${message()}`);
}
