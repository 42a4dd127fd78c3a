import { describe, expect, it } from "vitest";
import { CASES } from "../../test/conformance/cases.js";
import { analytic, directional, relativeError } from "../../test/conformance/finite-difference.js";
import { add, attention, gather, matmul, mul, reduceMax, rope } from "./build.js";
import { gradient } from "./gradient.js";
import { GRADIENTS } from "./gradients.js";
import { REFERENCE } from "./reference.js";
import { SHAPES } from "./shapes.js";
import { define, type OpName } from "./value.js";

const OPS = Object.keys(SHAPES) as OpName[];

it("every op has a shape rule, a gradient rule, a meaning and cases", () => {
  for (const table of [GRADIENTS, REFERENCE, CASES]) expect(Object.keys(table).sort()).toEqual([...OPS].sort());
  for (const op of OPS) expect(CASES[op].length, op).toBeGreaterThan(0);
});

describe.each(OPS)("%s", (op) => {
  const differentiable = CASES[op].filter((c) => c.wrt.length);
  it.runIf(differentiable.length)("gradients equal central differences in float64, whatever is saved", () => {
    for (const { name, f, inputs, wrt } of differentiable) {
      const all = analytic(f, inputs, wrt, "all");
      expect(Object.keys(all), name).toEqual(wrt.map((w) => `d_${w}`));
      const { numeric, analytic: exact } = directional(f, inputs, wrt, all);
      expect(
        Math.abs(numeric - exact) / Math.max(1, Math.abs(numeric)),
        `${name}: ${numeric} and ${exact}`,
      ).toBeLessThan(1e-7);
      for (const w of wrt) expect(all[`d_${w}`]!.shape, name).toEqual(inputs[w]!.shape);
      for (const save of ["cheap", "none"] as const) {
        const other = analytic(f, inputs, wrt, save);
        for (const w of wrt)
          expect(relativeError(other[`d_${w}`]!.data, all[`d_${w}`]!.data), name).toBeLessThan(1e-13);
      }
    }
  });
});

it("only what is wanted is in the result, one input at a time too", () => {
  for (const { name, f, inputs, wrt } of Object.values(CASES).flat()) {
    const all = wrt.length ? analytic(f, inputs, wrt, "none") : {};
    for (const w of wrt) {
      const alone = analytic(f, inputs, [w], "none");
      expect(Object.keys(alone), name).toEqual([`d_${w}`]);
      expect(relativeError(alone[`d_${w}`]!.data, all[`d_${w}`]!.data), name).toBeLessThan(1e-13);
    }
  }
});

it("what has no gradient says so instead of returning none", () => {
  const max = define("f", (d) => ({ y: reduceMax(d("x", [3]), 0) }));
  expect(() => gradient(max, ["x"])).toThrow("reduceMax: has no gradient");
  const turn = define("f", (d) => ({ y: rope(d("x", [2, 1, 4]), d("cos", [2, 2]), d("sin", [2, 2])) }));
  expect(() => gradient(turn, ["cos"])).toThrow("rope: has no gradient for its tables");
  const attend = define("f", (d) => ({
    y: attention(d("q", [1, 2, 4]), d("k", [1, 2, 4]), d("v", [1, 2, 4]), d("mask", [2, 2]), { scale: 1 }),
  }));
  expect(() => gradient(attend, ["mask"])).toThrow("attention: has no gradient for its mask");
});

it("a rule is not asked where nothing above it is wanted", () => {
  const f = define("f", (d) => {
    const h = reduceMax(d("x", [3, 2]), 0);
    return { y: mul(h, d("w", [2])) };
  });
  expect(Object.keys(gradient(f, ["w"]).backward.outputs)).toEqual(["d_w"]);
});

it("equal ids add their gradients up", () => {
  const f = define("f", (d) => ({ y: gather(d("table", [3, 1]), d("ids", [3], "i64")) }));
  const { backward } = gradient(f, ["table"]);
  expect(Object.keys(backward.inputs)).toEqual(["ids", "d_y"]);
});

it("an input that no output depends on is left out", () => {
  const f = define("f", (d) => {
    d("unused", [2]);
    return { y: add(d("x", [2]), d("z", [2])) };
  });
  expect(Object.keys(gradient(f, ["x", "unused"]).backward.outputs)).toEqual(["d_x"]);
});

it("no gradient of a frozen weight is ever formed", () => {
  const f = define("f", (d) => {
    const h = matmul(d("x", [4, 3]), d("frozen", [5, 3]), { transB: true });
    return { y: matmul(h, d("trained", [2, 5]), { transB: true }) };
  });
  const { backward } = gradient(f, ["trained"], "all");
  expect(Object.keys(backward.inputs)).not.toContain("frozen");
  expect(Object.keys(backward.outputs)).toEqual(["d_trained"]);
});
