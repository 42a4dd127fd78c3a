import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { openSafetensors } from "../../formats/safetensors.js";
import { nodeFiles } from "../../node/files.js";
import { CODECS } from "./quants.js";
import { encodeValues, fittingType, GGUF_WEIGHT_TYPES } from "./quants-encode.js";

const fixture = fileURLToPath(new URL("../../formats/fixtures/quantise.safetensors", import.meta.url));
const fixtureK = fileURLToPath(new URL("../../formats/fixtures/quantise-k.safetensors", import.meta.url));

test.each(GGUF_WEIGHT_TYPES.filter((type) => type !== "f32"))(
  "%s is encoded to the bytes of ggml's reference quantiser",
  async (type) => {
    const source = await openSafetensors(nodeFiles, type.endsWith("_k") ? fixtureK : fixture);
    const values = await source.read("values");
    const expected = await source.readRaw(`${type}.raw`);
    await source.close();
    expect(Buffer.from(encodeValues("x", type, values)).equals(expected)).toBe(true);
  },
);

test.each(GGUF_WEIGHT_TYPES)("%s: encoding what was decoded changes nothing", (type) => {
  const values = Float32Array.from({ length: 256 }, (_, i) => Math.sin(i * i));
  const { block, decode } = CODECS[type];
  const once = new Float32Array(256);
  const twice = new Float32Array(256);
  decode(encodeValues("x", type, values), 0, once, 0, 256 / block);
  decode(encodeValues("x", type, once), 0, twice, 0, 256 / block);
  const worst = Math.max(...once.map((value, i) => Math.abs(value - values[i]!)));
  expect(worst).toBeLessThanOrEqual(
    { f32: 0, f16: 5e-4, bf16: 4e-3, q8_0: 5e-3, q6_k: 0.04, q4_k: 0.1, q4_0: 0.13, q4_1: 0.08 }[type],
  );
  // The K types search for a scale, and need not find the one that they were made with.
  const drift = type.endsWith("_k") ? 0.08 : 2e-3;
  for (let i = 0; i < 256; i++) expect(Math.abs(twice[i]! - once[i]!)).toBeLessThanOrEqual(drift);
});

test("NaN, infinity and values beyond a type are refused by tensor and value", () => {
  const row = (value: number) => new Float32Array(256).fill(value);
  for (const type of GGUF_WEIGHT_TYPES) expect(() => encodeValues("w", type, row(Number.NaN))).toThrow("w: NaN cannot");
  expect(() => encodeValues("w", "f16", row(70000))).toThrow("w: 70000 cannot be stored as f16");
  expect(() => encodeValues("w", "f32", row(Number.POSITIVE_INFINITY))).toThrow("Infinity");
  expect(encodeValues("w", "q8_0", row(70000))).toHaveLength(8 * 34);
});

test("rows that are no whole number of blocks fall back to f16, from K types to q8_0 first", () => {
  expect(fittingType("q4_k", 512)).toBe("q4_k");
  expect(fittingType("q4_k", 576)).toBe("q8_0");
  expect(fittingType("q6_k", 48)).toBe("f16");
  expect(fittingType("q4_0", 48)).toBe("f16");
  expect(fittingType("q4_0", 64)).toBe("q4_0");
  expect(fittingType("f32", 3)).toBe("f32");
});
