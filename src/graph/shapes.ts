import type { DType, Shape } from "../tensor/index.js";
import { sizeOf } from "../tensor/index.js";
import { check, type OpName, type Ops, type Spec, type Value } from "./value.js";

type Infer<A> = (inputs: readonly Value[], attrs: A, op: string) => Spec;

/** Values that share a scale in `matmulBits`. */
export const BITS_BLOCK = 32;

/** Two shapes broadcast as NumPy does, or undefined where they do not fit. */
export function broadcast(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return undefined;
    shape.push(x === 1 ? y : x);
  }
  return shape;
}

const show = (v: Value | undefined) => (v ? `${v.dtype}[${v.shape}]` : "nothing");
const spec = (dtype: DType, shape: Shape): Spec => ({ dtype, shape });
const same = (a: Shape, b: Shape) => a.length === b.length && a.every((d, i) => d === b[i]);

const binary: Infer<unknown> = ([a, b], _attrs, op) => {
  const shape = broadcast(a!.shape, b!.shape);
  check(shape !== undefined && a!.dtype === b!.dtype, op, () => `${show(a)} and ${show(b)} do not fit`);
  return spec(a!.dtype, shape!);
};
const unary: Infer<unknown> = ([x]) => spec(x!.dtype, x!.shape);

const reduce: Infer<Ops["reduceSum"]> = ([x], { axes }, op) => {
  check(
    axes.every((a) => a >= 0 && a < x!.shape.length),
    op,
    () => `axes [${axes}] of ${show(x)}`,
  );
  return spec(
    x!.dtype,
    x!.shape.map((d, i) => (axes.includes(i) ? 1 : d)),
  );
};

/** Result dtype and shape of every op. Throws GraphError where the inputs do not fit. Reductions keep their axes as 1. */
export const SHAPES: { readonly [K in OpName]: Infer<Ops[K]> } = {
  input: () => check(false, "input", () => "made by input()") as never,
  constant: (_, { value }) => spec(value.dtype, value.shape),
  add: binary,
  sub: binary,
  mul: binary,
  div: binary,
  neg: unary,
  exp: unary,
  log: unary,
  sqrt: unary,
  reciprocal: unary,
  sigmoid: unary,
  tanh: unary,
  swiglu: ([gate, up], _, op) => {
    check(show(gate) === show(up), op, () => `${show(gate)} and ${show(up)} differ`);
    return gate!;
  },
  cast: ([x], { to }) => spec(to, x!.shape),
  lessOrEqual: (inputs, attrs, op) => spec("bool", binary(inputs, attrs, op).shape),
  where: ([condition, a, b], attrs, op) => {
    const both = binary([a!, b!], attrs, op);
    const shape = broadcast(condition!.shape, both.shape);
    check(condition!.dtype === "bool" && shape !== undefined, op, () => `condition ${show(condition)}`);
    return spec(both.dtype, shape!);
  },
  matmul: ([a, b], { transA, transB }, op) => {
    const [m, ka] = lastTwo(a!.shape, transA);
    const [kb, n] = lastTwo(b!.shape, transB);
    const lead = broadcast(a!.shape.slice(0, -2), b!.shape.slice(0, -2));
    const fits = a!.shape.length >= 2 && b!.shape.length >= 2 && ka === kb && lead !== undefined;
    check(
      fits && a!.dtype === b!.dtype,
      op,
      () => `${show(a)}${transA ? "^T" : ""} times ${show(b)}${transB ? "^T" : ""}`,
    );
    return spec(a!.dtype, [...lead!, m, n]);
  },
  matmulBits: (inputs, { bits }, op) => {
    const [x, codes, scales, zeros] = inputs as [Value, Value, Value, Value];
    const [m, k] = x.shape as [number, number];
    const [n, blocks] = codes.shape as [number, number, number];
    const fits =
      x.shape.length === 2 &&
      k === blocks * BITS_BLOCK &&
      same(codes.shape, [n, blocks, 4 * bits]) &&
      same(scales.shape, [n * blocks]) &&
      same(zeros.shape, [n * Math.ceil((blocks * bits) / 8)]);
    const typed = `${inputs.map(({ dtype }) => dtype)}` === "f32,u8,f32,u8";
    check(fits && typed, op, () => `${inputs.map(show).join(", ")} of ${bits} bits`);
    return spec("f32", [m, n]);
  },
  softmax: unary,
  reduceSum: reduce,
  reduceMean: reduce,
  reduceMax: reduce,
  broadcastTo: ([x], { shape }, op) => {
    check(same(broadcast(x!.shape, shape) ?? [], shape), op, () => `${show(x)} to [${shape}]`);
    return spec(x!.dtype, shape);
  },
  reshape: ([x], { shape }, op) => {
    check(sizeOf(shape) === sizeOf(x!.shape), op, () => `${show(x)} to [${shape}]`);
    return spec(x!.dtype, shape);
  },
  transpose: ([x], { perm }, op) => {
    const ok = perm.length === x!.shape.length && x!.shape.every((_, i) => perm.includes(i));
    check(ok, op, () => `perm [${perm}] of ${show(x)}`);
    return spec(
      x!.dtype,
      perm.map((p) => x!.shape[p]!),
    );
  },
  slice: ([x], { axis, start, end }, op) => {
    const ok = axis >= 0 && start >= 0 && start < end && end <= (x!.shape[axis] ?? -1);
    check(ok, op, () => `[${start}, ${end}) on axis ${axis} of ${show(x)}`);
    return spec(
      x!.dtype,
      x!.shape.map((d, i) => (i === axis ? end - start : d)),
    );
  },
  pad: ([x], { axis, before, after }, op) => {
    const ok = axis >= 0 && axis < x!.shape.length && before >= 0 && after >= 0;
    check(ok, op, () => `${before} before and ${after} behind axis ${axis} of ${show(x)}`);
    return spec(
      x!.dtype,
      x!.shape.map((d, i) => (i === axis ? before + d + after : d)),
    );
  },
  concat: (inputs, { axis }, op) => {
    const first = inputs[0]!;
    const fits = inputs.every(
      (v) =>
        v.dtype === first.dtype &&
        v.shape.length === first.shape.length &&
        v.shape.every((d, i) => i === axis || d === first.shape[i]),
    );
    check(fits && axis >= 0 && axis < first.shape.length, op, () => `${inputs.map(show).join(", ")} on axis ${axis}`);
    const total = inputs.reduce((n, v) => n + v.shape[axis]!, 0);
    return spec(
      first.dtype,
      first.shape.map((d, i) => (i === axis ? total : d)),
    );
  },
  gather: ([table, ids], _, op) => {
    check(
      table!.shape.length === 2 && ids!.shape.length === 1 && ids!.dtype === "i64",
      op,
      () => `${show(table)} at ${show(ids)}`,
    );
    return spec(table!.dtype, [ids!.shape[0]!, table!.shape[1]!]);
  },
  scatterAdd: ([ids, updates], { rows }, op) => {
    const ok = ids!.dtype === "i64" && updates!.shape.length === 2 && ids!.shape[0] === updates!.shape[0];
    check(ok, op, () => `${show(updates)} at ${show(ids)}`);
    return spec(updates!.dtype, [rows, updates!.shape[1]!]);
  },
  pick: ([x, ids], _, op) => {
    check(
      x!.shape.length === 2 && ids!.shape.length <= 2 && ids!.shape[0] === x!.shape[0] && ids!.dtype === "i64",
      op,
      () => `${show(x)} at ${show(ids)}`,
    );
    return spec(x!.dtype, ids!.shape);
  },
  unpick: ([ids, values], { width }, op) => {
    check(ids!.dtype === "i64" && same(ids!.shape, values!.shape), op, () => `${show(values)} at ${show(ids)}`);
    return spec(values!.dtype, [ids!.shape[0]!, width]);
  },
  rmsNorm: ([x, w], _, op) => {
    check(same(w!.shape, x!.shape.slice(-1)) && x!.dtype === w!.dtype, op, () => `${show(x)} with weight ${show(w)}`);
    return spec(x!.dtype, x!.shape);
  },
  rope: ([x, cos, sin], _, op) => {
    const [t, , hd] = x!.shape;
    const ok = x!.shape.length === 3 && same(cos!.shape, [t!, hd! / 2]) && same(sin!.shape, cos!.shape);
    check(ok, op, () => `${show(x)} by ${show(cos)}, ${show(sin)}`);
    return spec(x!.dtype, x!.shape);
  },
  attention: ([q, k, v, mask], _, op) => {
    const [heads, t, hd] = q!.shape as [number, number, number];
    const [kv] = k!.shape as [number];
    const ok =
      q!.shape.length === 3 &&
      same(k!.shape, [kv, t, hd]) &&
      same(v!.shape, k!.shape) &&
      heads % kv === 0 &&
      same(mask!.shape, [t, t]);
    check(ok, op, () => `q ${show(q)}, k ${show(k)}, v ${show(v)}, mask ${show(mask)}`);
    return spec(q!.dtype, [t, heads, hd]);
  },
  cachedAttention: ([q, k, v, pastK, pastV, last], _, op) => {
    const [r, heads, t, hd] = q!.shape as [number, number, number, number];
    const [, kv, c] = pastK!.shape as [number, number, number];
    const ok =
      q!.shape.length === 4 &&
      same(pastK!.shape, [r, kv, c, hd]) &&
      same(pastV!.shape, pastK!.shape) &&
      same(k!.shape, [r, kv, t, hd]) &&
      same(v!.shape, k!.shape) &&
      heads % kv === 0 &&
      same(last!.shape, [r, 1]);
    const given = { q, k, v, pastK, pastV, last };
    check(ok, op, () =>
      Object.entries(given)
        .map(([name, x]) => `${name} ${show(x!)}`)
        .join(", "),
    );
    return spec(q!.dtype, [r * t, heads * hd]);
  },
};

function lastTwo(shape: Shape, transposed: boolean): readonly [number, number] {
  const [a, b] = shape.slice(-2) as [number, number];
  return transposed ? [b, a] : [a, b];
}
