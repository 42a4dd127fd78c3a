import { describe, expect, it } from "vitest";
import { CONFIGS } from "../../test/conformance/models.js";
import * as g from "../graph/build.js";
import { define, type Fn, gradient, OPEN, type Value } from "../graph/index.js";
import { attentionOutput } from "../models/index.js";
import { f32 } from "../tensor/index.js";
import { type Backend, lower, PROVIDERS, type Provider, toOnnx } from "./index.js";
import { ProtoWriter } from "./proto.js";

/** Operators of the lowered model, in order. */
const operators = (f: Fn, provider: Provider = "cpu") => lower(f, provider).nodes.map((n) => n.type);

describe("lowering", () => {
  it("products become one operator with their transposes, alpha and what is added", () => {
    const f = define("f", (d) => {
      const h = g.matmul(d("x", [4, 3]), d("w", [5, 3]), { transB: true, alpha: 2 });
      return { y: g.add(d("residual", [4, 5]), h) };
    });
    expect(operators(f)).toEqual(["Gemm"]);
    expect(lower(f, "cpu").nodes[0]).toMatchObject({
      inputs: ["x", "w", "residual"],
      outputs: ["y"],
      attributes: { transA: 0, transB: 1, alpha: { float: 2 } },
    });
  });

  it("a product that something else reads is not swallowed by the sum", () => {
    const f = define("f", (d) => {
      const h = g.matmul(d("x", [4, 3]), d("w", [3, 5]));
      return { y: g.add(h, d("b", [5])), h };
    });
    expect(operators(f)).toEqual(["MatMul", "Add"]);
  });

  it("a sum of three products is one over all their terms where each would be rounded, if the copies are small", () => {
    const sum = (width: number, options = {}) =>
      define("f", (d) => {
        const [x, w] = [d("x", [5, 64]), d("w", [64, width])];
        const term = () => g.matmul(x, w, options);
        return {
          y: g.add(g.add(term(), term()), g.add(term(), d("z", [5, width]))),
          p: g.add(g.add(term(), term()), term()),
        };
      });
    const joined = (f: Fn, backend: Backend) => lower(f, backend).nodes.filter(({ type }) => type === "Concat").length;
    expect(joined(sum(8), "openvino")).toBe(2); // of p alone: y has a term that is no product
    expect(joined(sum(8), "cpu")).toBe(0);
    expect(joined(sum(2 ** 13), "openvino")).toBe(0);
    expect(joined(sum(8, { alpha: 2 }), "openvino")).toBe(0);
  });

  it.each<[string, Fn, string[], string[]]>([
    [
      "rmsNorm",
      define("f", (d) => ({ y: g.rmsNorm(d("x", [2, 4]), d("w", [4]), 1e-5) })),
      ["SimplifiedLayerNormalization"],
      ["Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"],
    ],
    [
      "swiglu",
      define("f", (d) => ({ y: g.swiglu(d("x", [2]), d("u", [2])) })),
      ["QuickGelu", "Mul"],
      ["Sigmoid", "Mul", "Mul"],
    ],
    [
      "a batched product",
      define("f", (d) => ({ y: g.matmul(d("x", [2, 3, 4]), d("w", [2, 5, 4]), { transB: true, alpha: 3 }) })),
      ["FusedMatMul"],
      ["Transpose", "MatMul", "Mul"],
    ],
    [
      "rope",
      define("f", (d) => ({ y: g.rope(d("x", [3, 2, 4]), d("c", [3, 2]), d("s", [3, 2])) })),
      ["Reshape", "RotaryEmbedding", "Reshape"],
      [
        "Reshape",
        "Slice",
        "Mul",
        "Slice",
        "Concat",
        "Concat",
        "Reshape",
        "Concat",
        "Reshape",
        "Mul",
        "Mul",
        "Add",
        "Reshape",
      ],
    ],
  ])("%s: fused where the provider computes that right, plain ONNX elsewhere", (_, f, fused, plain) => {
    expect(operators(f, "cpu")).toEqual(fused);
    expect(operators(f, "cuda")).toEqual(plain);
  });

  it.each([
    ["in a row become one", (x: Value) => g.reshape(g.reshape(x, [6, 2]), [3, 4]), ["Reshape", "Neg"]],
    ["back to the first shape are none", (x: Value) => g.reshape(g.reshape(x, [6, 2]), [2, 1, 6]), ["Neg"]],
    ["with a transpose that moves nothing", (x: Value) => g.reshape(g.transpose(x, 1, 0, 2), [12]), ["Reshape", "Neg"]],
    ["with one that does", (x: Value) => g.reshape(g.transpose(x, 2, 1, 0), [12]), ["Transpose", "Reshape", "Neg"]],
  ] as const)("reshapes %s", (_, made, expected) => {
    const f = define("f", (d) => ({ y: g.neg(made(d("x", [2, 1, 6]))) }));
    expect(operators(f, "cpu")).toEqual(expected);
    expect(operators(f, "cuda")).toEqual(expected);
  });

  it("reshapes in a row and transposes of an open size stay as they are", () => {
    const f = define("f", (d) => ({
      y: g.reshape(g.reshape(d("x", [OPEN, 6]), [OPEN, 2, 3]), [OPEN, 3, 2]),
      z: g.transpose(d("z", [OPEN, 1, OPEN]), 1, 0, 2),
    }));
    expect(operators(f, "cpu")).toEqual(["Reshape", "Reshape", "Transpose"]);
  });

  it("a reshape that is also read as it is stays; nothing unread is left, neither nodes nor constants", () => {
    const f = define("f", (d) => {
      const wide = g.reshape(d("x", [12]), [3, 4]);
      return { y: g.neg(wide), z: g.neg(g.reshape(wide, [2, 6])) };
    });
    const { nodes, initializers } = lower(f, "cpu");
    expect(nodes.map(({ type }) => type)).toEqual(["Reshape", "Neg", "Reshape", "Neg"]);
    expect(nodes.filter(({ type }) => type === "Reshape").map(({ inputs }) => inputs[0])).toEqual(["x", "x"]);
    const read = new Set(nodes.flatMap(({ inputs }) => inputs));
    expect([...initializers.keys()].filter((name) => !read.has(name))).toEqual([]);
  });

  it("providers without tests of their own get plain ONNX only", () => {
    const config = CONFIGS["grouped queries"]!;
    const { forward, backward } = gradient(attentionOutput(config, 4, {}), ["x", "o"]);
    for (const provider of ["cuda", "coreml", "dml"] as const) {
      expect(Object.values(PROVIDERS[provider])).not.toContain(true);
      for (const f of [forward, backward]) {
        const { nodes } = lower(f, provider);
        expect(nodes.filter((n) => n.domain !== "" || n.type.startsWith("Simplified"))).toEqual([]);
      }
    }
  });

  it("weights are inputs, never copied into the model", () => {
    const config = { ...CONFIGS["grouped queries"]!, hiddenSize: 256, intermediateSize: 512 };
    expect(toOnnx(attentionOutput(config, 8, {}), "cpu").length).toBeLessThan(4000);
  });

  it("values keep apart from names that inputs and outputs took; small equal constants are one", () => {
    const f = define("f", (d) => ({
      v0: g.add(g.mul(d("c0", [2]), g.scalar(2)), g.scalar(2)),
      v1: g.neg(d("c0", [2])),
    }));
    const { nodes, initializers } = lower(f, "cpu");
    expect(initializers.size).toBe(1);
    const names = ["c0", ...initializers.keys(), ...nodes.flatMap((n) => n.outputs)];
    expect(new Set(names).size).toBe(names.length);
  });

  it("inputs, constants and repeats become outputs through Identity", () => {
    const f = define("f", (d) => {
      const y = g.neg(d("x", [1]));
      return { a: d("x", [1]), b: y, c: y, d: g.constant(f32([1], [1])) };
    });
    const { nodes } = lower(f, "cpu");
    expect(nodes.map((n) => `${n.outputs} = ${n.type} ${n.inputs}`)).toMatchInlineSnapshot(`
      [
        "b = Neg x",
        "a = Identity x",
        "c = Identity b",
        "d = Identity %1",
      ]
    `);
  });

  it("an input that nothing reads is left out", () => {
    const f = define("f", (d) => {
      d("unused", [1]);
      return { y: g.neg(d("x", [1])) };
    });
    expect(lower(f, "cpu").inputs.map((v) => v.name)).toEqual(["x"]);
  });
});

describe("protobuf", () => {
  const hex = (w: ProtoWriter) => Buffer.from(w.finish()).toString("hex");

  it("matches the wire format's own examples", () => {
    expect(hex(new ProtoWriter().int(1, 150))).toBe("089601");
    expect(hex(new ProtoWriter().string(2, "testing"))).toBe("120774657374696e67");
    expect(hex(new ProtoWriter().message(3, (m) => m.int(1, 150)))).toBe("1a03089601");
  });

  it("negative numbers take ten bytes, floats four, long texts a longer length", () => {
    expect(hex(new ProtoWriter().int(3, -1))).toBe("18ffffffffffffffffff01");
    expect(hex(new ProtoWriter().float(2, 1.5))).toBe("150000c03f");
    expect(hex(new ProtoWriter().string(1, "a".repeat(300))).slice(0, 6)).toBe("0aac02");
  });
});
