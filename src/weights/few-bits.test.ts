import { expect, it } from "vitest";
import { define, interpret, matmulBits } from "../graph/index.js";
import { bitsShapes } from "../models/index.js";
import { f32, random } from "../tensor/index.js";
import { type Bits, roundedToBits, valuesOfBits } from "./few-bits.js";

/** Three blocks a row: in 4 bits a row's zero points end in half a byte. */
const SHAPE = [5, 96] as const;
const rng = random(1, "few bits");
const values = Float32Array.from({ length: SHAPE[0] * SHAPE[1] }, () => rng.normal());

it.each([4, 8] as const)("%d bits decode to what a product multiplies by", (bits: Bits) => {
  const [out, width] = SHAPE;
  const held = roundedToBits(values, SHAPE, bits);
  const shapes = bitsShapes(SHAPE, bits);
  const f = define("product", (declare) => ({
    y: matmulBits(
      declare("x", [width, width]),
      declare("codes", shapes.codes, "u8"),
      declare("scales", shapes.scales),
      declare("zeros", shapes.zeros, "u8"),
      bits,
    ),
  }));
  const identity = Float32Array.from({ length: width * width }, (_, i) => (i % (width + 1) === 0 ? 1 : 0));
  const { y } = interpret(f, {
    x: f32([width, width], identity),
    codes: { dtype: "u8", shape: shapes.codes, data: held.codes },
    scales: f32(shapes.scales, held.scales as Float32Array<ArrayBuffer>),
    zeros: { dtype: "u8", shape: shapes.zeros, data: held.zeros },
  });
  const decoded = valuesOfBits(held, SHAPE, bits);
  for (let o = 0; o < out; o++)
    for (let i = 0; i < width; i++) expect(decoded[o * width + i]).toBeCloseTo(y!.data[i * out + o]!, 6);
});
