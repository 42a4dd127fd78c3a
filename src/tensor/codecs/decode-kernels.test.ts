import { expect, it } from "vitest";
import { random } from "../random.js";
import { decodeValues } from "./decode-kernels.js";
import { blockBytes, CODECS, type CodecName } from "./quants.js";

const SIZES = [1, 3, 64, 8192 + 128, 20_000, 2 * 16384];

it.each(Object.keys(CODECS) as CodecName[])("%s: vectors decode any bytes to the bits of the plain loops", (name) => {
  const { block, decode } = CODECS[name];
  const rng = random(3, name);
  for (const blocks of SIZES.map((size) => Math.ceil(size / block))) {
    const source = Uint8Array.from({ length: blockBytes(CODECS[name], blocks) + 5 }, () => rng.below(256)).subarray(5);
    const [expected, actual] = [0, 1].map(() => new Float32Array(blocks * block)) as [Float32Array, Float32Array];
    decode(source, 0, expected, 0, blocks);
    decodeValues(name, source, actual);
    const wrong = expected.findIndex((x, i) => !Object.is(x, actual[i]));
    expect([wrong, actual[wrong]]).toEqual([-1, undefined]);
  }
});

it("every float16, subnormal, infinite and not a number, and both zeros", () => {
  const source = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
  const [expected, actual] = [new Float32Array(65536), new Float32Array(65536)];
  CODECS.f16.decode(source, 0, expected, 0, 65536);
  decodeValues("f16", source, actual);
  expect(expected.every((x, i) => Object.is(x, actual[i]))).toBe(true);
});
