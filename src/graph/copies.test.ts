import { expect, it } from "vitest";
import { f32 } from "../tensor/index.js";
import { add, matmul } from "./build.js";
import { copies } from "./copies.js";
import { interpret } from "./reference.js";
import { define } from "./value.js";

it("each copy computes what the function does, of its own inputs", () => {
  const f = define("f", (d) => {
    const [x, y] = [d("x", [2, 2]), d("y", [2])];
    return { product: matmul(x, x), sum: add(x, y) };
  });
  const inputs = [
    { x: f32([2, 2], Float32Array.of(1, 2, 3, 4)), y: f32([2], Float32Array.of(5, 6)) },
    { x: f32([2, 2], Float32Array.of(-1, 0, 7, 2)), y: f32([2], Float32Array.of(8, -9)) },
  ];
  const together = copies(f, 2);
  expect(Object.keys(together.inputs)).toEqual(["x.0", "y.0", "x.1", "y.1"]);
  expect(Object.keys(together.outputs)).toEqual(["product.0", "sum.0", "product.1", "sum.1"]);
  const named = inputs.flatMap((given, i) => Object.entries(given).map(([name, v]) => [`${name}.${i}`, v] as const));
  const found = interpret(together, Object.fromEntries(named));
  for (const [i, given] of inputs.entries()) {
    const alone = interpret(f, given);
    for (const name of ["product", "sum"]) expect(found[`${name}.${i}`]).toEqual(alone[name]);
  }
});
