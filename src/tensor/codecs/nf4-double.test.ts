import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { openSafetensors } from "../../formats/safetensors.js";
import { nodeFiles } from "../../node/files.js";
import { random } from "../random.js";
import { decodeValues } from "./decode-kernels.js";
import { encodeBlocks } from "./encode-kernels.js";
import { NF4_BYTES } from "./nf4.js";
import { DYNAMIC_MAP, meanScale, quantizeScales, readScales } from "./nf4-double.js";

const vectors = (name: string) =>
  fileURLToPath(new URL(`../../../test/reference/vectors/nf4/${name}.safetensors`, import.meta.url));
const bits = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** nf4 blocks of these scales; their codes count up, so that none can get lost or change places. */
function blocksOf(scales: Float32Array): Uint8Array {
  const bytes = Uint8Array.from({ length: scales.length * NF4_BYTES }, (_, i) => i % 251);
  const view = new DataView(bytes.buffer);
  scales.forEach((scale, i) => {
    view.setFloat32(i * NF4_BYTES, scale, true);
  });
  return bytes;
}

it("quantises to bitsandbytes' bits (compress_statistics): the map, mean, codes, magnitudes and the weights", async () => {
  const source = await openSafetensors(nodeFiles, vectors("nf4"));
  expect(bits(DYNAMIC_MAP)).toEqual(bits(await source.read("double.code")));
  const weight = await source.read("weight");
  const nf4 = encodeBlocks("nf4", weight);
  const mean = meanScale(nf4);
  expect(bits(Float32Array.of(mean))).toEqual(bits(await source.read("double.offset")));
  const stored = quantizeScales(nf4, mean);
  const count = weight.length / 64;
  expect(stored.length).toBe(8 + count * 33);
  expect(bits(new Float32Array(stored.slice(0, 8).buffer))).toEqual(
    bits(Float32Array.of(mean, (await source.read("double.absmax2"))[0]!)),
  );
  expect(stored.subarray(8, 8 + count)).toEqual(await source.readRaw("double.absmax"));
  expect(stored.subarray(8 + count)).toEqual(await source.readRaw("packed"));
  const decoded = new Float32Array(weight.length);
  decodeValues("nf4_dq", stored, decoded);
  expect(bits(decoded)).toEqual(bits(await source.read("double.dequantized")));
  await source.close();
});

it("the same over several groups, the last one short", async () => {
  const source = await openSafetensors(nodeFiles, vectors("scales"));
  const [scales, [offset], most] = [
    await source.read("scales"),
    await source.read("offset"),
    await source.read("absmax2"),
  ];
  const [codes, expected] = [await source.readRaw("codes"), await source.read("dequantized")];
  await source.close();
  const nf4 = blocksOf(scales);
  expect(Math.abs(meanScale(nf4) / offset! - 1)).toBeLessThanOrEqual(2 ** -23);
  const stored = quantizeScales(nf4, offset!);
  for (let first = 0, at = 0; first < scales.length; first += 256) {
    const count = Math.min(256, scales.length - first);
    const header = new Float32Array(stored.slice(at, at + 8).buffer);
    expect(bits(header)).toEqual(bits(Float32Array.of(offset!, most[first / 256]!)));
    expect(stored.subarray(at + 8, at + 8 + count)).toEqual(codes.subarray(first, first + count));
    const read = new Float32Array(count);
    readScales(stored, at, count, read);
    expect(bits(read)).toEqual(bits(expected.slice(first, first + count)));
    for (let i = 0; i < count; i++) {
      const from = (first + i) * NF4_BYTES + 4;
      const block = stored.subarray(at + 8 + count + i * 32, at + 8 + count + (i + 1) * 32);
      expect(block).toEqual(nf4.subarray(from, from + 32));
    }
    at += 8 + count * 33;
  }
});

it("scales that are all their mean stay what they are", () => {
  for (const count of [1, 300]) {
    const scales = new Float32Array(count).fill(0.37);
    const nf4 = blocksOf(scales);
    const stored = quantizeScales(nf4, meanScale(nf4));
    const [plain, double] = [new Float32Array(count * 64), new Float32Array(count * 64)];
    decodeValues("nf4", nf4, plain);
    decodeValues("nf4_dq", stored, double);
    expect(bits(double)).toEqual(bits(plain));
  }
});

it("what it adds to NF4's own rounding is small", () => {
  const rng = random(1, "weights");
  const values = Float32Array.from({ length: 64 * 600 }, () => 0.02 * rng.normal());
  const nf4 = encodeBlocks("nf4", values);
  const decoded = new Float32Array(values.length);
  const error = (name: "nf4" | "nf4_dq", bytes: Uint8Array) => {
    decodeValues(name, bytes, decoded);
    return Math.sqrt(values.reduce((sum, x, i) => sum + (x - decoded[i]!) ** 2, 0));
  };
  const plain = error("nf4", nf4);
  const double = error("nf4_dq", quantizeScales(nf4, meanScale(nf4)));
  expect(double).not.toBe(plain);
  expect(Math.abs(double / plain - 1)).toBeLessThan(0.001);
});
