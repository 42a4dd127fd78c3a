import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { openSafetensors } from "../../formats/safetensors.js";
import { nodeFiles } from "../../node/files.js";
import { CODECS, type CodecName } from "./quants.js";

const fixture = fileURLToPath(new URL("../../formats/fixtures/quants.safetensors", import.meta.url));

test.each(Object.keys(CODECS).filter((name) => name !== "f32" && !name.startsWith("nf4")) as CodecName[])(
  "%s decodes to the bits that Python's gguf gives",
  async (name) => {
    const source = await openSafetensors(nodeFiles, fixture);
    const raw = await source.readRaw(`${name}.raw`);
    const expected = await source.read(name);
    await source.close();
    const { block, bytes, decode } = CODECS[name];
    expect(raw.length / bytes).toBe(expected.length / block);
    const actual = new Float32Array(expected.length + 1);
    const first = Math.floor(raw.length / bytes / 2);
    decode(raw, first * bytes, actual, first * block, raw.length / bytes - first);
    decode(raw, 0, actual, 0, first);
    expect(new Uint32Array(actual.buffer, 0, expected.length)).toEqual(new Uint32Array(expected.buffer));
    expect(actual[expected.length]).toBe(0);
    expect(new Set(expected).size).toBeGreaterThan(block > 1 ? 64 : 32);
  },
);
