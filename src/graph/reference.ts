import { type HostTensor, type Shape, sizeOf } from "../tensor/index.js";
import { BITS_BLOCK, broadcast } from "./shapes.js";
import { type AttentionAttrs, check, type Fn, type OpName, topological, type Value } from "./value.js";

/** A tensor of the interpreter: every dtype is computed as float64. */
export interface Reference {
  readonly shape: Shape;
  readonly data: Float64Array;
}

type Meaning<K extends OpName> = (inputs: readonly Reference[], v: Value<K>) => Float64Array;

const map =
  (f: (x: number) => number): Meaning<OpName> =>
  ([x]) =>
    x!.data.map(f);

const zip =
  (f: (a: number, b: number) => number): Meaning<OpName> =>
  ([a, b], v) => {
    const x = expanded(a!, v.shape);
    const y = expanded(b!, v.shape);
    return x.map((value, i) => f(value, y[i]!));
  };

const reduced =
  (
    start: number,
    f: (sum: number, x: number) => number,
    finish: (sum: number, n: number) => number = (s) => s,
  ): Meaning<OpName> =>
  ([x], v) => {
    const result = new Float64Array(sizeOf(v.shape)).fill(start);
    const strides = stridesFor(v.shape, x!.shape);
    walk(x!.shape, strides, (from, to) => {
      result[to] = f(result[to]!, x!.data[from]!);
    });
    return result.map((s) => finish(s, x!.data.length / result.length));
  };

/** What every op means, computed in float64 by plain loops. The engines are tested against this. */
export const REFERENCE: { readonly [K in OpName]: Meaning<K> } = {
  input: () => check(false, "input", () => "has no value of its own") as never,
  constant: (_, { attrs: { value } }) => Float64Array.from(value.data as ArrayLike<number | bigint>, Number),
  add: zip((a, b) => a + b),
  sub: zip((a, b) => a - b),
  mul: zip((a, b) => a * b),
  div: zip((a, b) => a / b),
  neg: map((x) => -x),
  exp: map(Math.exp),
  log: map(Math.log),
  sqrt: map(Math.sqrt),
  reciprocal: map((x) => 1 / x),
  sigmoid: map((x) => 1 / (1 + Math.exp(-x))),
  tanh: map(Math.tanh),
  swiglu: zip((gate, up) => (gate / (1 + Math.exp(-gate))) * up),
  cast: ([x], { attrs: { to } }) => {
    if (to === "bool") return x!.data.map((value) => (value === 0 ? 0 : 1));
    return to.startsWith("f") || to === "bf16" ? x!.data.slice() : x!.data.map(Math.trunc);
  },
  lessOrEqual: zip((a, b) => (a <= b ? 1 : 0)),
  where: ([condition, a, b], v) => {
    const [c, x, y] = [condition!, a!, b!].map((t) => expanded(t, v.shape)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    return c.map((flag, i) => (flag ? x[i]! : y[i]!));
  },
  matmul: ([a, b], v) => multiply(a!, b!, v),
  matmulBits: ([x, codes, scales, zeros], v) => {
    const [, n] = v.shape as [number, number];
    const k = x!.shape[1]!;
    const weights = { shape: [n, k], data: fromBits(codes!, scales!, zeros!, v.attrs.bits) };
    return multiply(x!, weights, { shape: v.shape, attrs: { transA: false, transB: true, alpha: 1 } });
  },
  softmax: ([x]) => rows(x!, (row) => softmaxRow(row)),
  reduceSum: reduced(0, (s, x) => s + x),
  reduceMean: reduced(
    0,
    (s, x) => s + x,
    (s, n) => s / n,
  ),
  reduceMax: reduced(Number.NEGATIVE_INFINITY, Math.max),
  broadcastTo: ([x], v) => expanded(x!, v.shape),
  reshape: ([x]) => x!.data.slice(),
  transpose: ([x], { attrs: { perm }, shape }) => {
    const from = rowStrides(x!.shape);
    const result = new Float64Array(x!.data.length);
    walk(
      shape,
      perm.map((p) => from[p]!),
      (to, source) => {
        result[to] = x!.data[source]!;
      },
    );
    return result;
  },
  slice: ([x], { attrs: { axis, start }, shape }) => {
    const strides = rowStrides(x!.shape);
    const result = new Float64Array(sizeOf(shape));
    walk(shape, strides, (to, from) => {
      result[to] = x!.data[from + start * strides[axis]!]!;
    });
    return result;
  },
  pad: ([x], { attrs: { axis, before }, shape }) => {
    const strides = rowStrides(shape);
    const result = new Float64Array(sizeOf(shape));
    walk(x!.shape, strides, (from, to) => {
      result[to + before * strides[axis]!] = x!.data[from]!;
    });
    return result;
  },
  concat: (inputs, { attrs: { axis }, shape }) => {
    const strides = rowStrides(shape);
    const result = new Float64Array(sizeOf(shape));
    let start = 0;
    for (const x of inputs) {
      walk(x.shape, strides, (from, to) => {
        result[to + start * strides[axis]!] = x.data[from]!;
      });
      start += x.shape[axis]!;
    }
    return result;
  },
  gather: ([table, ids]) => {
    const d = table!.shape[1]!;
    const result = new Float64Array(ids!.data.length * d);
    ids!.data.forEach((id, i) => {
      result.set(table!.data.subarray(id * d, (id + 1) * d), i * d);
    });
    return result;
  },
  scatterAdd: ([ids, updates], { attrs: { rows: n } }) => {
    const d = updates!.shape[1]!;
    const result = new Float64Array(n * d);
    ids!.data.forEach((id, i) => {
      for (let j = 0; j < d; j++) result[id * d + j]! += updates!.data[i * d + j]!;
    });
    return result;
  },
  pick: ([x, ids]) => ids!.data.map((id, i) => x!.data[rowOfId(ids!, i) * x!.shape[1]! + id]!),
  unpick: ([ids, values], { attrs: { width } }) => {
    const result = new Float64Array(ids!.shape[0]! * width);
    ids!.data.forEach((id, i) => {
      result[rowOfId(ids!, i) * width + id] = values!.data[i]!;
    });
    return result;
  },
  rmsNorm: ([x, w], { attrs: { eps } }) =>
    rows(x!, (row) => {
      const rms = Math.sqrt(row.reduce((s, value) => s + value * value, 0) / row.length + eps);
      return row.map((value, i) => (value / rms) * w!.data[i]!);
    }),
  rope: ([x, cos, sin], { attrs: { inverse } }) => {
    const [, heads, hd] = x!.shape as [number, number, number];
    const half = hd / 2;
    let row = 0;
    return rows(x!, (values) => {
      const at = Math.floor(row++ / heads) * half;
      return values.map((value, i) => {
        const angle = at + (i % half);
        const s = sin!.data[angle]! * (inverse ? -1 : 1);
        return value * cos!.data[angle]! + (i < half ? -values[i + half]! : values[i - half]!) * s;
      });
    });
  },
  attention: ([q, k, v, mask], { attrs }) => attend(q!, k!, v!, mask!, attrs),
  cachedAttention: (inputs, { attrs }) => attendCached(inputs, attrs),
};

/** Evaluates a function in float64. Throws GraphError when an input is missing or has another size. */
export function interpret(f: Fn, inputs: Readonly<Record<string, HostTensor | Reference>>): Record<string, Reference> {
  const values = new Map<Value, Reference>();
  for (const v of topological(Object.values(f.outputs))) {
    if (v.op === "input") {
      const { name } = (v as Value<"input">).attrs;
      const given = inputs[name];
      check(
        given?.data.length === sizeOf(v.shape),
        f.name,
        () => `input '${name}' needs [${v.shape}], got [${given?.shape}]`,
      );
      values.set(v, { shape: v.shape, data: Float64Array.from(given!.data as ArrayLike<number>, Number) });
    } else {
      const meaning = REFERENCE[v.op] as Meaning<OpName>;
      const operands = v.inputs.map((x) => values.get(x)!);
      values.set(v, { shape: v.shape, data: meaning(operands, v) });
    }
  }
  return Object.fromEntries(Object.entries(f.outputs).map(([name, v]) => [name, values.get(v)!]));
}

/** The row of x that an id is for: ids are [n], or [n, k] with k for each. */
const rowOfId = ({ shape: [, k = 1] }: Reference, i: number): number => Math.floor(i / k);

function rowStrides(shape: Shape): number[] {
  const strides: number[] = new Array(shape.length).fill(1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!;
  return strides;
}

/** Strides that read a tensor of `shape` while walking `over`: 0 along broadcast axes. */
function stridesFor(shape: Shape, over: Shape): number[] {
  const own = rowStrides(shape);
  const lead = over.length - shape.length;
  return over.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : own[i - lead]!));
}

/** Visits every index of `shape` in order with its own position and the position under other strides. */
function walk(shape: Shape, strides: readonly number[], visit: (own: number, other: number) => void): void {
  const index: number[] = new Array(shape.length).fill(0);
  let other = 0;
  for (let own = 0, n = sizeOf(shape); own < n; own++) {
    visit(own, other);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      other += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      other -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
}

function expanded(x: Reference, shape: Shape): Float64Array {
  const result = new Float64Array(sizeOf(shape));
  walk(shape, stridesFor(x.shape, shape), (to, from) => {
    result[to] = x.data[from]!;
  });
  return result;
}

function rows(x: Reference, f: (row: Float64Array) => Float64Array): Float64Array {
  const width = x.shape[x.shape.length - 1]!;
  const result = new Float64Array(x.data.length);
  for (let i = 0; i < x.data.length; i += width) result.set(f(x.data.subarray(i, i + width)), i);
  return result;
}

function softmaxRow(row: Float64Array): Float64Array {
  const max = row.reduce((m, x) => Math.max(m, x), Number.NEGATIVE_INFINITY);
  const e = row.map((x) => Math.exp(x - max));
  const sum = e.reduce((s, x) => s + x, 0);
  return e.map((x) => x / sum);
}

function multiply(a: Reference, b: Reference, v: Pick<Value<"matmul">, "shape" | "attrs">): Float64Array {
  const { transA, transB, alpha } = v.attrs;
  const [m, n] = v.shape.slice(-2) as [number, number];
  const k = a.shape[a.shape.length - (transA ? 2 : 1)]!;
  const lead = v.shape.slice(0, -2);
  const left = expanded(a, [...broadcast(lead, a.shape.slice(0, -2))!, ...a.shape.slice(-2)]);
  const right = expanded(b, [...broadcast(lead, b.shape.slice(0, -2))!, ...b.shape.slice(-2)]);
  const result = new Float64Array(sizeOf(v.shape));
  for (let batch = 0; batch < sizeOf(lead); batch++) {
    const [ao, bo, co] = [batch * m * k, batch * k * n, batch * m * n];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let p = 0; p < k; p++) {
          sum += left[ao + (transA ? p * m + i : i * k + p)]! * right[bo + (transB ? j * k + p : p * n + j)]!;
        }
        result[co + i * n + j] = alpha * sum;
      }
    }
  }
  return result;
}

/** The weights [N, K] that `matmulBits` reads. */
function fromBits(codes: Reference, scales: Reference, zeros: Reference, bits: 4 | 8): Float64Array {
  const [n, blocks] = codes.shape as [number, number, number];
  const part = (data: Float64Array, i: number) => (bits === 8 ? data[i]! : (data[i >> 1]! >> (4 * (i & 1))) & 15);
  const zeroRow = zeros.data.length / n;
  return Float64Array.from({ length: n * blocks * BITS_BLOCK }, (_, i) => {
    const block = Math.floor(i / BITS_BLOCK);
    const row = Math.floor(block / blocks);
    const zero = part(zeros.data.subarray(row * zeroRow, (row + 1) * zeroRow), block % blocks);
    return scales.data[block]! * (part(codes.data, i) - zero);
  });
}

const capped = (score: number, { softcap }: AttentionAttrs): number =>
  softcap > 0 ? softcap * Math.tanh(score / softcap) : score;

/** Each new token over the positions 0 ... last of its text's cache and the new ones up to itself, within its window. */
function attendCached([q, k, v, pastK, pastV, last]: readonly Reference[], attrs: AttentionAttrs): Float64Array {
  const [r, heads, t, hd] = q!.shape as [number, number, number, number];
  const [, kv, c] = pastK!.shape as [number, number, number];
  const result = new Float64Array(q!.data.length);
  for (let at = 0; at < r * heads * t; at++) {
    const [row, head, i] = [Math.floor(at / (heads * t)), Math.floor(at / t) % heads, at % t];
    const group = row * kv + Math.floor((head * kv) / heads);
    const cached = last!.data[row]! + 1;
    const first = attrs.window > 0 ? Math.max(0, cached + i + 1 - attrs.window) : 0;
    const vectors = (past: Reference, now: Reference) =>
      Array.from({ length: cached + i + 1 - first }, (_, at) => {
        const j = first + at;
        const start = j < cached ? (group * c + j) * hd : (group * t + j - cached) * hd;
        return (j < cached ? past : now).data.subarray(start, start + hd);
      });
    const query = q!.data.subarray(at * hd, (at + 1) * hd);
    const dots = vectors(pastK!, k!).map((key) => key.reduce((sum, x, d) => sum + x * query[d]!, 0));
    const scores = dots.map((dot) => capped(dot * attrs.scale, attrs));
    const values = vectors(pastV!, v!);
    softmaxRow(Float64Array.from(scores)).forEach((w, j) => {
      for (let d = 0; d < hd; d++) result[((row * t + i) * heads + head) * hd + d]! += w * values[j]![d]!;
    });
  }
  return result;
}

function attend(q: Reference, k: Reference, v: Reference, mask: Reference, attrs: AttentionAttrs): Float64Array {
  const [heads, t, hd] = q.shape as [number, number, number];
  const groups = heads / k.shape[0]!;
  const result = new Float64Array(q.data.length);
  for (let head = 0; head < heads; head++) {
    const shared = Math.floor(head / groups) * t * hd;
    for (let i = 0; i < t; i++) {
      const at = (head * t + i) * hd;
      const scores = new Float64Array(t).map((_, j) => {
        let dot = 0;
        for (let d = 0; d < hd; d++) dot += q.data[at + d]! * k.data[shared + j * hd + d]!;
        return capped(dot * attrs.scale, attrs) + mask.data[i * t + j]!;
      });
      softmaxRow(scores).forEach((w, j) => {
        for (let d = 0; d < hd; d++) result[(i * heads + head) * hd + d]! += w * v.data[shared + j * hd + d]!;
      });
    }
  }
  return result;
}
