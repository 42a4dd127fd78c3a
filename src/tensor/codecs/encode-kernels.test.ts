import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { openSafetensors } from "../../formats/safetensors.js";
import { nodeFiles } from "../../node/files.js";
import { f32ToF16 } from "../half.js";
import { random } from "../random.js";
import { encodeBlocks } from "./encode-kernels.js";
import { NF4_BLOCK, NF4_BYTES, NF4_VALUES } from "./nf4.js";
import { CODECS } from "./quants.js";

const vectors = fileURLToPath(new URL("../../../test/reference/vectors/nf4/nf4.safetensors", import.meta.url));
const bits = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

it("quantises and dequantises to bitsandbytes' bits: codes, scales and values, with a block of zeros and an outlier", async () => {
  const source = await openSafetensors(nodeFiles, vectors);
  const read = (name: string) => source.read(name);
  const weight = await read("weight");
  const [absmax, expected, code] = [await read("absmax"), await read("dequantized"), await read("code")];
  const packed = await source.readRaw("packed");
  await source.close();
  expect(bits(Float32Array.from(NF4_VALUES))).toEqual(bits(code));
  const encoded = encodeBlocks("nf4", weight);
  const blocks = weight.length / NF4_BLOCK;
  for (let i = 0; i < blocks; i++) {
    const block = encoded.slice(i * NF4_BYTES, (i + 1) * NF4_BYTES);
    expect(bits(new Float32Array(block.buffer, 0, 1))[0], `scale ${i}`).toBe(bits(absmax)[i]);
    expect([...block.subarray(4)], `codes ${i}`).toEqual([...packed.subarray(i * 32, (i + 1) * 32)]);
  }
  const decoded = new Float32Array(weight.length);
  CODECS.nf4.decode(encoded, 0, decoded, 0, blocks);
  expect(bits(decoded)).toEqual(bits(expected));
});

it("takes the nearest of the sixteen values for every value, also midway between two and at the ends", () => {
  const rng = random(9, "nf4");
  const middles = NF4_VALUES.slice(1).map((x, i) => (x + NF4_VALUES[i]!) / 2);
  const next = (x: number, step: number) => {
    const bits = new Int32Array(Float32Array.of(x).buffer);
    bits[0]! += x < 0 ? -step : step;
    return new Float32Array(bits.buffer)[0]!;
  };
  const edges = middles.flatMap((x) => [next(x, -1), Math.fround(x), next(x, 1)]);
  const values = Float32Array.from({ length: 64 * 130 }, (_, i) => {
    if (i % 64 === 0) return i % 128 ? -1 : 1; // so that the scale is 1
    return i < 64 * 128 ? (edges[i % 64] ?? rng.uniform() * 2 - 1) : rng.normal() * 1e-30;
  });
  const encoded = encodeBlocks("nf4", values);
  const scales = new DataView(encoded.buffer);
  const wrong: number[] = [];
  values.forEach((x, i) => {
    const block = Math.floor(i / 64) * NF4_BYTES;
    const scaled = Math.fround(x * Math.fround(1 / scales.getFloat32(block, true)));
    const byte = encoded[block + 4 + ((i % 64) >> 1)]!;
    const code = i % 2 ? byte & 15 : byte >> 4;
    const expected = middles.filter((middle) => scaled > middle).length;
    if (code !== expected) wrong.push(i);
  });
  expect(wrong).toEqual([]);
});

it("a block with NaN or infinity has a scale that says so", () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const at of [0, 33, 63]) {
      const values = new Float32Array(64).fill(0.5);
      values[at] = bad;
      expect(Number.isFinite(new DataView(encodeBlocks("nf4", values).buffer).getFloat32(0, true))).toBe(false);
    }
  }
});

it("float16 to nearest, ties to even, with subnormal numbers and both zeros", () => {
  const rng = random(4, "f16");
  const values = Float32Array.from({ length: 80_000 }, (_, i) => {
    if (i < 8) return [0, -0, 65504, -65504, 2 ** -24, 2 ** -25, 2 ** -14, 1.5 * 2 ** -24][i]!;
    const x = rng.normal() * 2 ** (rng.below(40) - 28);
    return i % 3 ? x : Math.fround(Math.round(x * 2 ** 12) / 2 ** 12 + 2 ** -13); // many ties
  }).map((x) => Math.max(-65504, Math.min(65504, x)));
  expect(new Uint16Array(encodeBlocks("f16", values).buffer)).toEqual(f32ToF16(values));
});

it("q8_0 rounds halves away from zero, and a block of zeros stays one", () => {
  const rng = random(5, "q8_0");
  const values = Float32Array.from({ length: 32 * 600 }, (_, i) => {
    if (i < 32) return 0;
    return i % 32 === 0 ? 127 : i < 32 * 300 ? rng.below(509) / 2 - 127 : rng.normal() * 10 ** (rng.below(6) - 3);
  });
  const encoded = encodeBlocks("q8_0", values);
  const wrong: number[] = [];
  for (let block = 0; block < 600; block++) {
    const part = values.subarray(32 * block, 32 * block + 32);
    const scale = Math.fround(part.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const bits = f32ToF16(Float32Array.of(scale))[0]!;
    if ((encoded[34 * block]! | (encoded[34 * block + 1]! << 8)) !== bits) wrong.push(block);
    part.forEach((x, i) => {
      const y = Math.fround(x * inverse);
      const expected = Math.sign(y) * (Math.abs(y) % 1 >= 0.5 ? Math.ceil(Math.abs(y)) : Math.floor(Math.abs(y)));
      if ((encoded[34 * block + 2 + i]! << 24) >> 24 !== expected) wrong.push(block);
    });
  }
  expect(wrong).toEqual([]);
});
