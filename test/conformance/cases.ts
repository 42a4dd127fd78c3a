import * as g from "../../src/graph/build.js";
import { causalMask, type Declare, define, type Fn, type OpName, type Value } from "../../src/graph/index.js";
import { type DType, f32, type HostTensor, random, type Shape, sizeOf } from "../../src/tensor/index.js";

/** One function around one op with inputs to run it on. */
export interface Case {
  readonly name: string;
  readonly f: Fn;
  readonly inputs: Readonly<Record<string, HostTensor>>;
  /** Inputs whose gradients are compared; empty where the op has none. */
  readonly wrt: readonly string[];
  /** Relative error that an engine may make; default: what fp32 leaves. */
  readonly tolerance?: number;
}

/** How an input is filled: standard normal unless said otherwise. */
export type Filling = "normal" | "positive" | "frozen" | { ids: number } | { distinctIds: number } | HostTensor;
type Argument = readonly [shape: Shape, filling?: Filling];

/** Makes a case: `body` builds the output from the declared arguments; the first letters name the inputs. */
export function testCase(
  name: string,
  args: readonly Argument[],
  body: (...values: Value[]) => Value | Record<string, Value>,
): Case {
  const names = args.map((_, i) => "abcdefgh"[i]!);
  const inputs = Object.fromEntries(args.map(([shape, filling], i) => [names[i]!, fill(name, shape, filling)]));
  const f = define("f", (declare: Declare) => {
    const result = body(...names.map((n) => declare(n, inputs[n]!.shape, inputs[n]!.dtype)));
    return "op" in result ? { y: result as Value } : (result as Record<string, Value>);
  });
  const wrt = names.filter((_, i) => ["normal", "positive"].includes((args[i]![1] ?? "normal") as string));
  return { name, f, inputs, wrt };
}

/** Values for one input, the same for the same name. */
export function fill(label: string, shape: Shape, filling: Filling = "normal"): HostTensor {
  const rng = random(7, label, shape.join());
  const n = sizeOf(shape);
  if (typeof filling !== "string") {
    if ("data" in filling) return filling;
    const ids = "ids" in filling ? () => rng.below(filling.ids) : undefined;
    const data = BigInt64Array.from({ length: n }, (_, i) =>
      BigInt(ids ? ids() : (i * 7 + 3) % (filling as { distinctIds: number }).distinctIds),
    );
    return { dtype: "i64", shape, data };
  }
  return f32(
    shape,
    Float32Array.from({ length: n }, () => (filling === "positive" ? 0.5 + 2 * rng.uniform() : rng.normal())),
  );
}

/** Random bytes. */
function bytes(shape: Shape, label: string): HostTensor {
  const rng = random(7, label, shape.join());
  return { dtype: "u8", shape, data: Uint8Array.from({ length: sizeOf(shape) }, () => rng.below(256)) };
}

const unary = (op: (x: Value) => Value, filling: Filling = "normal"): Case[] =>
  ([[], [1], [7], [3, 5], [2, 3, 4]] as Shape[]).map((shape) => testCase(`[${shape}]`, [[shape, filling]], op));

const PAIRS: readonly (readonly [Shape, Shape])[] = [
  [[5], [5]],
  [[3, 5], [5]],
  [
    [3, 1],
    [1, 5],
  ],
  [[], [2, 3]],
  [
    [2, 3, 4],
    [3, 1],
  ],
  [[1], [1]],
];
const binary = (op: (a: Value, b: Value) => Value, second: Filling = "normal"): Case[] =>
  PAIRS.map(([a, b]) => testCase(`[${a}] and [${b}]`, [[a], [b, second]], op));

const reduction = (op: (x: Value, ...axes: number[]) => Value, filling: Filling = "normal"): Case[] => [
  testCase("[7] over 0", [[[7], filling]], (x) => op(x, 0)),
  testCase("[3,5] over 1", [[[3, 5], filling]], (x) => op(x, 1)),
  testCase("[3,5] over 0", [[[3, 5], filling]], (x) => op(x, 0)),
  testCase("[2,3,4] over 0 and 2", [[[2, 3, 4], filling]], (x) => op(x, 0, 2)),
  testCase("[1,1] over both", [[[1, 1], filling]], (x) => op(x, 0, 1)),
];

const SIDES = [false, true];
const swap = (shape: Shape, swapped: boolean): Shape =>
  swapped ? [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!] : shape;
/** (m, k) and (k, n) with leading axes, in all four transpositions and with and without alpha. */
const matmuls: Case[] = (
  [
    [
      [3, 5],
      [5, 4],
    ],
    [
      [1, 7],
      [7, 1],
    ],
    [
      [2, 3, 5],
      [2, 5, 4],
    ],
    [
      [2, 3, 5],
      [5, 4],
    ],
    [
      [2, 1, 3, 5],
      [3, 5, 2],
    ],
    [
      [2, 16, 32],
      [2, 32, 12],
    ],
  ] as [Shape, Shape][]
).flatMap(([a, b]) =>
  SIDES.flatMap((transA) =>
    SIDES.flatMap((transB) =>
      [1, -0.3].map((alpha) => {
        const [left, right] = [swap(a, transA), swap(b, transB)];
        const name = `[${left}]${transA ? "^T" : ""} [${right}]${transB ? "^T" : ""} times ${alpha}`;
        return testCase(name, [[left], [right]], (x, y) => g.matmul(x, y, { transA, transB, alpha }));
      }),
    ),
  ),
);

const rotations: Case[] = [
  [1, 1, 2],
  [3, 2, 4],
  [7, 3, 16],
  [64, 2, 32],
].flatMap(([t, h, hd]) =>
  SIDES.map((inverse) => {
    const table: Argument = [[t!, hd! / 2], "frozen"];
    return testCase(`[${[t, h, hd]}]${inverse ? " inverse" : ""}`, [[[t!, h!, hd!]], table, table], (x, c, s) =>
      g.rope(x, c, s, inverse),
    );
  }),
);

const attentions: Case[] = [
  [1, 1, 1, 2, 0],
  [2, 2, 3, 4, 0],
  [4, 2, 5, 6, 0],
  [6, 1, 7, 3, 0],
  [4, 2, 5, 6, 2],
  [2, 1, 6, 4, 3],
  [4, 2, 5, 6, 0, 3],
  [4, 2, 9, 6, 2, 3],
  [2, 1, 9, 4, 3, 2],
  [4, 2, 5, 6, 0, 0, 2],
  [2, 1, 9, 4, 3, 4, 0.5],
].map(([h, kv, t, hd, queryBlock, window = 0, softcap = 0]) =>
  testCase(
    `${h} heads over ${kv}, ${t} positions of ${hd}, blocks of ${queryBlock}, window ${window}, cap ${softcap}`,
    [[[h!, t!, hd!]], [[kv!, t!, hd!]], [[kv!, t!, hd!]], [[t!, t!], f32([t!, t!], causalMask(t!, window))]],
    (q, k, v, mask) => g.attention(q, k, v, mask, { scale: hd! ** -0.5, queryBlock, window, softcap }),
  ),
);

/**
 * Texts by their last position in the cache (-1: it is empty), heads, key heads, new tokens, cached positions, width of a head,
 * window, cap.
 */
const cachedAttentions: Case[] = (
  [
    [[2], 2, 2, 1, 4, 8],
    [[0, -1, 5], 6, 2, 1, 7, 16],
    [[2, 0], 4, 1, 1, 4, 6],
    [[-1], 4, 2, 3, 5, 8],
    [[3, 1], 3, 3, 2, 6, 4],
    [[0, -1, 5], 6, 2, 1, 7, 16, 3, 0],
    [[0, -1, 5], 6, 2, 1, 7, 16, 1, 0],
    [[0, -1, 5], 6, 2, 1, 7, 16, 0, 0.7],
    [[4], 4, 2, 3, 5, 8, 2, 0],
    [[3, 1], 3, 3, 2, 6, 4, 4, 1.5],
  ] as const
).map(([lasts, h, kv, t, c, hd, window = 0, softcap = 0]) => {
  const r = lasts.length;
  const frozen = (shape: readonly number[]): Argument => [shape, "frozen"];
  const args = [frozen([r, h, t, hd]), ...[t, t, c, c].map((n) => frozen([r, kv, n, hd]))];
  return testCase(
    `${h} heads over ${kv} of ${hd}, ${t} tokens after ${lasts.map((last) => last + 1)} of ${c}, window ${window}, cap ${softcap}`,
    [...args, [[r, 1], f32([r, 1], lasts)]],
    (q, k, v, pastK, pastV, last) =>
      g.cachedAttention([q, k, v], [pastK, pastV], last, { scale: 0.3, window, softcap }),
  );
});

const CASTS: readonly DType[] = ["f64", "f16", "i64", "i32", "bool"];

/** At least one case for every op of the graph language; a new op does not compile until it has some. */
export const CASES: { readonly [K in OpName]: readonly Case[] } = {
  input: [testCase("returned as it is", [[[2, 3]]], (x) => x)],
  constant: [
    testCase("large", [[[20]]], (x) => g.mul(x, g.constant(fill("constant", [20])))),
    testCase("returned as it is", [[[2]]], (x) => ({ y: g.neg(x), z: g.constant(f32([2], [1, 2])) })),
    testCase("shared", [[[2]]], (x) => g.add(g.mul(x, g.scalar(3)), g.scalar(3))),
  ],
  add: [
    ...binary(g.add),
    testCase("product and bias", [[[3, 4]], [[4, 5]], [[5]]], (a, b, c) => g.add(g.matmul(a, b), c)),
    testCase("product and one number", [[[3, 4]], [[4, 5]], [[1]]], (a, b, c) => g.add(g.matmul(a, b), c)),
    testCase("product and column", [[[3, 4]], [[4, 5]], [[3, 1]]], (a, b, c) => g.add(g.matmul(a, b), c)),
    testCase("row and product that is read twice", [[[3, 4]], [[4, 5]], [[3, 5]]], (a, b, c) => {
      const product = g.matmul(a, b);
      return { y: g.add(c, product), z: g.neg(product) };
    }),
    testCase("two products", [[[3, 4]], [[4, 5]], [[5, 3]], [[5, 5]]], (a, b, c, d) =>
      g.add(g.matmul(a, b, { alpha: 2 }), g.matmul(c, d, { transA: true, alpha: -1 })),
    ),
    testCase("x and itself", [[[3]]], (x) => g.add(x, x)),
  ],
  sub: binary(g.sub),
  mul: [...binary(g.mul), testCase("sigmoid of another value", [[[3, 5]], [[3, 5]]], (x, z) => g.mul(x, g.sigmoid(z)))],
  div: binary(g.div, "positive"),
  neg: unary(g.neg),
  exp: unary(g.exp),
  log: unary(g.log, "positive"),
  sqrt: unary(g.sqrt, "positive"),
  reciprocal: unary(g.reciprocal, "positive"),
  sigmoid: unary(g.sigmoid),
  tanh: unary(g.tanh),
  swiglu: [
    testCase("of two values", [[[3, 5]], [[3, 5]]], g.swiglu),
    testCase("of one value", [[[3, 5]]], (x) => g.swiglu(x, x)),
    testCase("wide", [[[16, 48]], [[16, 48]]], g.swiglu),
    testCase("beside its gate's sigmoid", [[[3, 5]], [[3, 5]]], (x, u) => ({ y: g.swiglu(x, u), z: g.sigmoid(x) })),
  ],
  cast: CASTS.map((to) => ({
    ...testCase(`to ${to} and back`, [[[2, 3], f32([2, 3], [-2, -0.5, 0, 0.5, 1.25, 3])]], (x) =>
      g.cast(g.cast(x, to), "f32"),
    ),
    wrt: to.startsWith("f") ? ["a"] : [],
    ...(to === "f16" ? { tolerance: 2 ** -11 } : {}), // half the distance between neighbours near 1
  })),
  lessOrEqual: PAIRS.map(([a, b]) =>
    testCase(
      `[${a}] and [${b}]`,
      [
        [a, "frozen"],
        [b, "frozen"],
      ],
      (x, y) => g.cast(g.lessOrEqual(x, y), "f32"),
    ),
  ),
  where: PAIRS.map(([a, b]) =>
    testCase(`[${a}] and [${b}]`, [[a], [b], [[1], "frozen"]], (x, y, z) =>
      g.where(g.lessOrEqual(g.sub(x, y), z), x, y),
    ),
  ),
  matmul: matmuls,
  matmulBits: ([4, 8] as const).flatMap((bits) =>
    [
      [1, 32, 3],
      [1, 96, 5],
      [3, 64, 4],
      [16, 160, 7],
    ].map(([m, k, n]) => {
      const blocks = k! / 32;
      const [codes, zeros] = [
        bytes([n!, blocks, 4 * bits], "codes"),
        bytes([n! * Math.ceil((blocks * bits) / 8)], "zeros"),
      ];
      const args: Argument[] = [
        [[m!, k!], "frozen"],
        [codes.shape, codes],
        [[n! * blocks], "frozen"],
        [zeros.shape, zeros],
      ];
      return testCase(`[${m},${k}] and ${n} rows of ${bits} bits`, args, (x, p, s, z) =>
        g.matmulBits(x, p, s, z, bits),
      );
    }),
  ),
  softmax: [
    ...unary(g.softmax).slice(1),
    testCase("large values", [[[2, 3], f32([2, 3], [90, 1, -90, 88, 88, 88])]], g.softmax),
  ],
  reduceSum: reduction(g.reduceSum),
  reduceMean: reduction(g.reduceMean),
  reduceMax: reduction(g.reduceMax, "frozen"),
  broadcastTo: [
    testCase("[] to [2,3]", [[[]]], (x) => g.broadcastTo(x, [2, 3])),
    testCase("[3,1] to [2,3,4]", [[[3, 1]]], (x) => g.broadcastTo(x, [2, 3, 4])),
    testCase("[5] to [5]", [[[5]]], (x) => g.broadcastTo(x, [5])),
  ],
  reshape: [
    testCase("[2,6] to [3,4]", [[[2, 6]]], (x) => g.reshape(x, [3, 4])),
    testCase("[1] to []", [[[1]]], (x) => g.reshape(x, [])),
    testCase("[6] to [1,2,3]", [[[6]]], (x) => g.reshape(x, [1, 2, 3])),
  ],
  transpose: [
    testCase("[3,5]", [[[3, 5]]], (x) => g.transpose(x, 1, 0)),
    testCase("[2,3,4] by 2,0,1", [[[2, 3, 4]]], (x) => g.transpose(x, 2, 0, 1)),
    testCase("[1,3,1]", [[[1, 3, 1]]], (x) => g.transpose(x, 1, 0, 2)),
  ],
  slice: [
    testCase("middle", [[[7]]], (x) => g.slice(x, 0, 2, 5)),
    testCase("start", [[[3, 5]]], (x) => g.slice(x, 1, 0, 1)),
    testCase("end", [[[2, 3, 4]]], (x) => g.slice(x, 1, 1, 3)),
    testCase("all", [[[2, 3]]], (x) => g.slice(x, 1, 0, 3)),
  ],
  pad: [
    testCase("[3,5] before", [[[3, 5]]], (x) => g.pad(x, 1, 2, 0)),
    testCase("[3,5] behind", [[[3, 5]]], (x) => g.pad(x, 0, 0, 3)),
    testCase("[2,3,4] both", [[[2, 3, 4]]], (x) => g.pad(x, 1, 1, 2)),
  ],
  concat: [
    testCase("[2] and [3]", [[[2]], [[3]]], (a, b) => g.concat([a, b], 0)),
    testCase("three on axis 1", [[[2, 1]], [[2, 3]], [[2, 2]]], (a, b, c) => g.concat([a, b, c], 1)),
    testCase("x twice", [[[2, 3, 2]]], (a) => g.concat([a, a], 2)),
  ],
  gather: [
    testCase("4 of 6 rows", [[[6, 3]], [[4], { ids: 6 }]], g.gather),
    testCase("9 of 2 rows", [[[2, 1]], [[9], { ids: 2 }]], g.gather),
    testCase("1 of 1", [[[1, 5]], [[1], { ids: 1 }]], g.gather),
  ],
  scatterAdd: [
    testCase("4 into 6 rows", [[[4], { distinctIds: 6 }], [[4, 3]]], (ids, x) => g.scatterAdd(ids, x, 6)),
    testCase("9 into 2 rows, equal ids add up", [[[9], { ids: 2 }], [[9, 2]]], (ids, x) => g.scatterAdd(ids, x, 2)),
    testCase("1 into 1", [[[1], { ids: 1 }], [[1, 1]]], (ids, x) => g.scatterAdd(ids, x, 1)),
  ],
  pick: [
    testCase("[5,7]", [[[5, 7]], [[5], { ids: 7 }]], g.pick),
    testCase("[1,1]", [[[1, 1]], [[1], { ids: 1 }]], g.pick),
    testCase("[3,7] at two each", [[[3, 7]], [[3, 2], { distinctIds: 6 }]], g.pick),
  ],
  unpick: [
    testCase("into 7 columns", [[[5], { ids: 7 }], [[5]]], (ids, x) => g.unpick(ids, x, 7)),
    testCase("into 1 column", [[[3], { ids: 1 }], [[3]]], (ids, x) => g.unpick(ids, x, 1)),
    testCase("two each into 7", [[[3, 2], { distinctIds: 6 }], [[3, 2]]], (ids, x) => g.unpick(ids, x, 7)),
  ],
  rmsNorm: [
    testCase("[3,8]", [[[3, 8]], [[8]]], (x, w) => g.rmsNorm(x, w, 1e-5)),
    testCase("[2,3,5]", [[[2, 3, 5]], [[5]]], (x, w) => g.rmsNorm(x, w, 1e-6)),
    testCase("[1,1]", [[[1, 1]], [[1]]], (x, w) => g.rmsNorm(x, w, 1e-1)),
    testCase("[16,64]", [[[16, 64]], [[64]]], (x, w) => g.rmsNorm(x, w, 1e-5)),
  ],
  rope: rotations,
  attention: attentions,
  cachedAttention: cachedAttentions,
};
