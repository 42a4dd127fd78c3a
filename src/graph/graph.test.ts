import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { testCase } from "../../test/conformance/cases.js";
import { analytic, directional } from "../../test/conformance/finite-difference.js";
import { f32 } from "../tensor/index.js";
import * as g from "./build.js";
import { gradient } from "./gradient.js";
import { peakBytes } from "./memory.js";
import { isOpen, OPEN, sized } from "./open-size.js";
import { print } from "./printer.js";
import { interpret } from "./reference.js";
import { broadcast } from "./shapes.js";
import { define, type Fn, input, substitute, topological, type Value } from "./value.js";
import { verify } from "./verify.js";

const x = (shape: readonly number[], dtype: "f32" | "i64" | "bool" = "f32") => input("x", { dtype, shape });

describe("shape inference", () => {
  it.each<[string, () => Value, string]>([
    ["add", () => g.add(x([2, 3]), x([2, 4])), "add: f32[2,3] and f32[2,4] do not fit"],
    ["add of two dtypes", () => g.add(x([2]), x([2], "i64")), "add: f32[2] and i64[2] do not fit"],
    ["swiglu", () => g.swiglu(x([2, 3]), x([2, 1])), "swiglu: f32[2,3] and f32[2,1] differ"],
    ["matmul", () => g.matmul(x([2, 3]), x([4, 5])), "matmul: f32[2,3] times f32[4,5]"],
    ["matmul transposed", () => g.matmul(x([2, 3]), x([3, 5]), { transB: true }), "matmul: f32[2,3] times f32[3,5]^T"],
    ["matmul of a vector", () => g.matmul(x([3]), x([3, 5])), "matmul: f32[3] times f32[3,5]"],
    ["matmul's leading axes", () => g.matmul(x([2, 3, 4]), x([3, 4, 5])), "matmul: f32[2,3,4] times f32[3,4,5]"],
    ["where", () => g.where(x([2]), x([2]), x([2])), "where: condition f32[2]"],
    ["reduceSum", () => g.reduceSum(x([2, 3]), 2), "reduceSum: axes [2] of f32[2,3]"],
    ["broadcastTo", () => g.broadcastTo(x([2, 3]), [3]), "broadcastTo: f32[2,3] to [3]"],
    ["reshape", () => g.reshape(x([2, 3]), [4]), "reshape: f32[2,3] to [4]"],
    ["transpose", () => g.transpose(x([2, 3]), 0, 2), "transpose: perm [0,2] of f32[2,3]"],
    ["slice", () => g.slice(x([5]), 0, 3, 6), "slice: [3, 6) on axis 0 of f32[5]"],
    ["concat", () => g.concat([x([2, 3]), x([3, 3])], 1), "concat: f32[2,3], f32[3,3] on axis 1"],
    ["gather", () => g.gather(x([5, 2]), x([3])), "gather: f32[5,2] at f32[3]"],
    ["scatterAdd", () => g.scatterAdd(x([3], "i64"), x([4, 2]), 9), "scatterAdd: f32[4,2] at i64[3]"],
    ["pick", () => g.pick(x([5, 2]), x([4], "i64")), "pick: f32[5,2] at i64[4]"],
    ["unpick", () => g.unpick(x([5], "i64"), x([4]), 3), "unpick: f32[4] at i64[5]"],
    ["rmsNorm", () => g.rmsNorm(x([5, 2]), x([5]), 1e-5), "rmsNorm: f32[5,2] with weight f32[5]"],
    ["rope", () => g.rope(x([4, 1, 6]), x([4, 2]), x([4, 3])), "rope: f32[4,1,6] by f32[4,2], f32[4,3]"],
    [
      "attention",
      () => g.attention(x([3, 4, 6]), x([2, 4, 6]), x([2, 4, 6]), x([4, 4]), { scale: 1 }),
      "attention: q f32[3,4,6], k f32[2,4,6], v f32[2,4,6], mask f32[4,4]",
    ],
  ])("%s: a mistake shows every shape", (_, make, message) => {
    expect(make).toThrow(message);
  });

  it("broadcasting is symmetric and agrees with the interpreter", () => {
    const shape = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 });
    fc.assert(
      fc.property(shape, shape, (a, b) => {
        expect(broadcast(a, b)).toEqual(broadcast(b, a));
        if (!broadcast(a, b)) return void expect(() => g.add(x(a), x(b))).toThrow("do not fit");
        const { f, inputs, wrt } = testCase("sum", [[a], [b]], (p, q) => g.mul(g.add(p, q), q));
        const { numeric, analytic: exact } = directional(f, inputs, wrt, analytic(f, inputs, wrt, "all"));
        expect(numeric).toBeCloseTo(exact, 5);
      }),
      { numRuns: 60, seed: 1 },
    );
  });
});

const chain = define("chain", (declare) => {
  const h = g.matmul(declare("x", [2, 3]), declare("w", [4, 3]), { transB: true });
  const s = g.swiglu(h, declare("u", [2, 4]));
  return { y: g.matmul(s, declare("v", [4, 2])) };
});

describe("print", () => {
  it("one line a node, inputs and outputs by name", () => {
    expect(print(chain)).toMatchInlineSnapshot(`
      "chain(x:f32[2,3], w:f32[4,3], u:f32[2,4], v:f32[4,2])
        a:f32[2,4] = matmul x w {transB: true}
        b:f32[2,4] = swiglu a u
        c:f32[2,2] = matmul b v
        return y=c"
    `);
  });

  it("the backward of a chain reads like the textbook", () => {
    expect(print(gradient(chain, ["v"], "cheap").backward)).toMatchInlineSnapshot(`
      "chain_backward(u:f32[2,4], saved_0:f32[2,4], d_y:f32[2,2])
        a:f32[2,4] = swiglu saved_0 u
        b:f32[4,2] = matmul a d_y {transA: true}
        return d_v=b"
    `);
    expect(print(gradient(chain, ["w"], "all").backward)).toMatchInlineSnapshot(`
      "chain_backward(x:f32[2,3], u:f32[2,4], v:f32[4,2], saved_0:f32[2,4], d_y:f32[2,2])
        a:f32[2,4] = matmul d_y v {transB: true}
        b:f32[2,4] = mul a saved_0
        c:f32[2,4] = sigmoid saved_0
        d:f32[2,4] = mul b c
        e:f32[2,4] = sub a d
        f:f32[2,4] = mul e c
        g:f32[2,4] = add f d
        h:f32[2,4] = mul g u
        i:f32[4,3] = matmul h x {transA: true}
        return d_w=i"
    `);
  });

  it("constants, attributes and names that inputs took", () => {
    const f = define("f", (d) => ({
      y: g.slice(g.concat([g.mul(d("a", [2]), g.scalar(3)), g.constant(f32([9], new Float32Array(9)))], 0), 0, 1, 4),
    }));
    expect(print(f)).toMatchInlineSnapshot(`
      "f(a:f32[2])
        a_:f32[] = constant {[3]}
        b:f32[2] = mul a a_
        c:f32[9] = constant {9 values}
        d:f32[11] = concat b c {axis: 0}
        e:f32[3] = slice d {axis: 0, start: 1, end: 4}
        return y=e"
    `);
  });
});

describe("gradient", () => {
  it("what is saved: everything read, products only, or nothing", () => {
    const kept = (save: "all" | "cheap" | "none") => gradient(chain, ["w", "v"], save);
    expect(Object.keys(kept("none").forward.outputs)).toEqual(["y"]);
    expect(kept("none").saved).toEqual([]);
    expect(kept("cheap").saved.map((name) => kept("cheap").forward.outputs[name]!.op)).toEqual(["matmul"]);
    expect(
      kept("all")
        .saved.map((name) => kept("all").forward.outputs[name]!.op)
        .sort(),
    ).toEqual(["matmul", "swiglu"]);
  });

  it("visits only paths to the wanted inputs", () => {
    const { backward } = gradient(chain, ["v"], "all");
    expect(Object.keys(backward.inputs)).toEqual(["saved_0", "d_y"]);
    expect(topological(Object.values(backward.outputs)).map((v) => v.op)).toEqual(["input", "input", "matmul"]);
  });

  it("a saved value that is an output keeps the output's name", () => {
    const f = define("f", (d) => ({ y: g.exp(d("x", [2])) }));
    const { forward, backward, saved } = gradient(f, ["x"], "all");
    expect([saved, Object.keys(forward.outputs), Object.keys(backward.inputs)]).toEqual([[], ["y"], ["y", "d_y"]]);
  });

  it("an output that is an input passes its gradient on", () => {
    const f: Fn = define("f", (d) => ({ y: d("x", [2]) }));
    const { backward } = gradient(f, ["x"]);
    expect(interpret(backward, { d_y: f32([2], [3, 4]) }).d_x!.data).toEqual(Float64Array.of(3, 4));
  });

  it("values read on several paths add their gradients up", () => {
    const f = define("f", (d) => {
      const h = g.mul(d("x", [1]), d("x", [1]));
      return { y: g.add(g.mul(h, d("x", [1])), h), z: h };
    });
    const { forward, backward } = gradient(f, ["x"], "none");
    expect(Object.keys(forward.outputs)).toEqual(["y", "z"]);
    const one = f32([1], [1]);
    const { d_x } = interpret(backward, { x: f32([1], [2]), d_y: one, d_z: one });
    expect(d_x!.data[0]).toBe(3 * 4 + 2 * 2 + 2 * 2); // of x^3 + x^2 + x^2
  });
});

describe("verify", () => {
  it("accepts what the builders make", () => verify(chain));

  it("names what is wrong", () => {
    const free = { ...chain, inputs: { x: chain.inputs.x! } };
    expect(() => verify(free)).toThrow("chain: 'w' is used but not declared as an input");
    expect(() => verify({ ...chain, inputs: { ...chain.inputs, other: chain.inputs.x! } })).toThrow(
      "chain: input 'other' is not an input of that name",
    );
    expect(() => verify({ ...chain, outputs: {} })).toThrow("chain: has no outputs");
    expect(() => verify({ ...chain, outputs: { x: chain.outputs.y! } })).toThrow(
      "'x' names both an input and an output",
    );
    const wrong = { ...chain.outputs.y!, shape: [2, 9] };
    expect(() => verify({ ...chain, outputs: { y: wrong } })).toThrow("matmul says f32[2,9] but infers f32[2,2]");
  });
});

describe("the interpreter", () => {
  const run = (make: (a: Value, b: Value) => Value, a: number[][], b: number[][]) => {
    const flat = (m: number[][]) => f32([m.length, m[0]!.length], m.flat());
    const f = define("f", (d) => ({ y: make(d("a", [a.length, a[0]!.length]), d("b", [b.length, b[0]!.length])) }));
    return [...interpret(f, { a: flat(a), b: flat(b) }).y!.data];
  };

  it("gives the values one finds by hand", () => {
    const [a, b] = [
      [
        [1, 2],
        [3, 4],
      ],
      [
        [5, 6],
        [7, 8],
      ],
    ];
    expect(run((p, q) => g.matmul(p, q), a!, b!)).toEqual([19, 22, 43, 50]);
    expect(run((p, q) => g.matmul(p, q, { transA: true }), a!, b!)).toEqual([26, 30, 38, 44]);
    expect(run((p, q) => g.matmul(p, q, { transB: true, alpha: 2 }), a!, b!)).toEqual([34, 46, 78, 106]);
    expect(run((p) => g.reduceMean(p, 0), a!, b!)).toEqual([2, 3]);
    expect(run((p) => g.reduceMax(p, 1), a!, b!)).toEqual([2, 4]);
    expect(run((p) => g.transpose(p, 1, 0), a!, b!)).toEqual([1, 3, 2, 4]);
    expect(run((p, q) => g.concat([p, q], 1), a!, b!)).toEqual([1, 2, 5, 6, 3, 4, 7, 8]);
    expect(run((p) => g.softmax(g.mul(p, g.scalar(0))), a!, b!)).toEqual([0.5, 0.5, 0.5, 0.5]);
    const half = Math.sqrt(12.5);
    expect(run((p) => g.rmsNorm(g.slice(p, 0, 1, 2), g.constant(f32([2], [1, 10])), 0), a!, b!)).toEqual([
      3 / half,
      (4 / half) * 10,
    ]);
  });

  it("says which input is missing or too short", () => {
    expect(() => interpret(chain, { x: f32([2, 3], new Float32Array(6)) })).toThrow("chain: input 'w' needs [4,3]");
    const short = { x: f32([2], [1, 2]), w: f32([4, 3], new Float32Array(12)), v: f32([4, 2], new Float32Array(8)) };
    expect(() => interpret(chain, short)).toThrow("chain: input 'x' needs [2,3], got [2]");
  });
});

it("topological order is linear, each value after its inputs, however deep", () => {
  let v: Value = x([1]);
  for (let i = 0; i < 20_000; i++) v = g.add(v, v);
  const order = topological([v]);
  expect(order.length).toBe(20_001);
  const at = new Map(order.map((node, i) => [node, i]));
  for (const node of order) for (const from of node.inputs) expect(at.get(from)!).toBeLessThan(at.get(node)!);
});

it("substitute leaves alone what does not depend on the replaced value", () => {
  const [a, b] = [x([1]), x([1])];
  const [left, right] = [g.exp(a), g.exp(b)];
  const [sum, same] = substitute([g.add(left, right), right], new Map([[a, b]]));
  expect(same).toBe(right);
  expect(sum!.inputs[0]!.inputs[0]).toBe(b);
});

describe("peakBytes", () => {
  it("counts what is alive at once, by hand", () => {
    const f = define("f", (d) => {
      const a = g.exp(d("x", [10])); // 40 bytes
      const b = g.exp(a); // 80 while both live, then a dies
      const c = g.reshape(g.exp(b), [2, 5]); // 80; the reshape takes nothing
      return { y: g.reduceSum(c, 0, 1) };
    });
    expect(peakBytes(f)).toBe(80);
  });

  it("inputs and outputs are the caller's", () => {
    expect(peakBytes(define("f", (d) => ({ y: g.exp(d("x", [1000])) })))).toBe(0);
    expect(peakBytes(define("f", (d) => ({ y: g.reshape(g.exp(d("x", [4])), [2, 2]) })))).toBe(0);
  });

  it("a value needed late is held until then", () => {
    const f = define("f", (d) => {
      const early = g.exp(d("x", [10]));
      const long = g.exp(g.exp(g.exp(early)));
      return { y: g.reduceSum(g.add(early, long), 0) };
    });
    expect(peakBytes(f)).toBe(120);
  });
});

describe("open sizes", () => {
  it("are no whole number, however often they are multiplied, and fixed ones none of them", () => {
    for (const times of [1, 2, 3, 32, 4096, 2 ** 29])
      expect([isOpen(times * OPEN), times * OPEN < 1]).toEqual([true, true]);
    for (const size of [0, 1, 2, 1_000_003, 2 ** 40]) expect(isOpen(size)).toBe(false);
    expect(sized([OPEN, 4, 3 * OPEN], 7)).toEqual([7, 4, 21]);
  });

  it("broadcast with 1, and are printed as N", () => {
    const f = define("f", (d) => ({ y: g.add(d("x", [OPEN, 4]), d("b", [1, 4])) }));
    expect(f.outputs.y!.shape).toEqual([OPEN, 4]);
    expect(print(f)).toContain("x:f32[N,4]");
  });

  it("what is no multiple of one is refused: a sum with a fixed size, a square", () => {
    expect(() => isOpen(5 + OPEN)).toThrow("is no multiple of it");
    expect(() => isOpen(OPEN * OPEN)).toThrow("is no multiple of it");
  });
});
