import { expect, it } from "vitest";
import { define, interpret, matmulBits } from "../graph/index.js";
import { encodeValues } from "../tensor/codecs/quants-encode.js";
import { decodeValues, f32, random } from "../tensor/index.js";
import { type Bits, bitsAsStored, type FewBits, roundedToBits } from "./few-bits.js";

/** The weight that one in few bits stands for: its product with the identity. */
function standsFor({ codes, scales, zeros }: FewBits, [out, input]: readonly [number, number], bits: Bits) {
  const u8 = (data: Uint8Array, shape: number[]) => ({ dtype: "u8" as const, shape, data });
  const inputs = {
    x: f32(
      [input, input],
      Float32Array.from({ length: input * input }, (_, i) => Number(i % (input + 1) === 0)),
    ),
    codes: u8(codes, [out, input / 32, 4 * bits]),
    scales: f32([scales.length], scales),
    zeros: u8(zeros, [zeros.length]),
  };
  const f = define("stands for", (declare) => {
    const [x, p, s, z] = Object.entries(inputs).map(([name, { shape, dtype }]) => declare(name, shape, dtype));
    return { y: matmulBits(x!, p!, s!, z!, bits) };
  });
  const { data } = interpret(f, inputs).y!;
  return Float32Array.from({ length: out * input }, (_, i) => data[(i % input) * out + Math.floor(i / input)]!);
}

const SHAPE = [5, 96] as const;
const rng = random(4, "weights");
const values = Float32Array.from({ length: 480 }, (_, i) => rng.normal() + (i < 96 ? 3 : 0));
values.fill(0, 96, 128);
values.fill(-2, 128, 160);

it.each([
  ["q8_0", 8],
  ["q4_0", 8],
  ["q4_0", 4],
] as const)("%s blocks are held exactly in %d bits", (stored, bits) => {
  const raw = encodeValues("w", stored, values);
  const expected = new Float32Array(values.length);
  decodeValues(stored, raw, expected);
  expect(standsFor(bitsAsStored(stored, raw, SHAPE, bits)!, SHAPE, bits)).toEqual(expected.map((x) => x + 0)); // no -0
});

it("other blocks are not: they have offsets", () => {
  expect(bitsAsStored("q4_1", new Uint8Array(20 * 15), SHAPE, 4)).toBeUndefined();
  expect(bitsAsStored("q8_0", new Uint8Array(34 * 15), SHAPE, 4)).toBeUndefined();
});

it.each([8, 4] as const)("in %d bits no value is further off than half a step of its block", (bits) => {
  const weight = roundedToBits(values, SHAPE, bits);
  const found = standsFor(weight, SHAPE, bits);
  for (const [i, value] of values.entries()) {
    const block = values.subarray(i - (i % 32), i - (i % 32) + 32);
    const [low, high] = [Math.min(0, ...block), Math.max(0, ...block)];
    const step = bits === 8 ? Math.max(-low, high) / 127 : (high - low) / 15;
    // in 4 bits 0 moves onto a code, and the ends with it, before the scale is fitted
    expect(Math.abs(found[i]! - value), `value ${i}`).toBeLessThanOrEqual(step * (bits === 8 ? 0.501 : 1.2));
  }
});
