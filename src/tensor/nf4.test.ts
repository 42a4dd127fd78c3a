import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { openSafetensors } from "../checkpoint/safetensors.js";
import { nodeFiles } from "../node/files.js";
import { encodeNf4, NF4_BLOCK, NF4_BYTES, NF4_VALUES } from "./nf4.js";
import { CODECS } from "./quants.js";

const vectors = fileURLToPath(new URL("../../test/reference/vectors/nf4/nf4.safetensors", import.meta.url));
const bits = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

it("quantises and dequantises to bitsandbytes' bits: codes, scales and values, with a block of zeros and an outlier", async () => {
  const source = await openSafetensors(nodeFiles, vectors);
  const read = (name: string) => source.read(name);
  const weight = await read("weight");
  const [absmax, expected, code] = [await read("absmax"), await read("dequantized"), await read("code")];
  const packed = await source.readRaw("packed");
  await source.close();
  expect(bits(Float32Array.from(NF4_VALUES))).toEqual(bits(code));
  const encoded = encodeNf4(weight);
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
