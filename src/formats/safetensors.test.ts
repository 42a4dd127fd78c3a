import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nodeFiles } from "../node/files.js";
import { f32, type HostTensor, UserError } from "../tensor/index.js";
import type { Files } from "./files.js";
import { memoryFiles } from "./memory-files.js";
import { openSafetensors } from "./safetensors.js";
import { hostTensor, narrowed, type TensorToWrite, writeSafetensors, writeWeights } from "./safetensors-writer.js";

const fixture = fileURLToPath(new URL("fixtures/python.safetensors", import.meta.url));

/** A file of this header text and so many bytes of data. */
function file(header: string, dataBytes: number): Uint8Array {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

const open = (bytes: Uint8Array) => openSafetensors(memoryFiles({ "x.safetensors": bytes }), "x.safetensors");
const entry = (shape: number[], offsets: number[], dtype = "F32") =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

describe("writer", () => {
  test("writes the very bytes that Python's safetensors writes", async () => {
    const source = await openSafetensors(nodeFiles, fixture);
    const tensors: TensorToWrite[] = [];
    for (const { name, stored, shape } of source.tensors.values()) {
      const bytes = await source.readRaw(name);
      tensors.push({ name, dtype: stored, shape, chunks: () => [bytes.subarray(0, 3), bytes.subarray(3)] });
    }
    const files = memoryFiles();
    await writeSafetensors(files, "out.safetensors", tensors.reverse());
    expect(await files.read("out.safetensors")).toEqual(await nodeFiles.read(fixture));
    expect(tensors.length).toBe(6);
    await source.close();
  });

  test("metadata says format = pt, which some readers insist on", async () => {
    const files = memoryFiles();
    await writeSafetensors(files, "a", [hostTensor("w", f32([2], [1, 2]))]);
    expect((await openSafetensors(files, "a")).metadata).toEqual({ format: "pt" });
  });

  test("past the limit weights go into shards, with an index that names every tensor's file", async () => {
    const files = memoryFiles();
    const tensors = ["a", "b", "c"].map((name, i) => hostTensor(name, f32([4], [i, i, i, i])));
    await writeWeights(files, "m", tensors, 40);
    const index = JSON.parse(new TextDecoder().decode(await files.read("m/model.safetensors.index.json")));
    expect(index).toEqual({
      metadata: { total_size: 48 },
      weight_map: {
        a: "model-00001-of-00002.safetensors",
        b: "model-00001-of-00002.safetensors",
        c: "model-00002-of-00002.safetensors",
      },
    });
    const second = await openSafetensors(files, "m/model-00002-of-00002.safetensors");
    expect(await second.read("c")).toEqual(new Float32Array([2, 2, 2, 2]));
  });

  test("a value that float16 cannot hold is refused, not written as infinity", () => {
    expect(() => [...narrowed("w", new Float32Array([1, 70000]), "f16")]).toThrow(/w: 70000 is beyond float16/);
    expect([...narrowed("w", new Float32Array([1, 70000]), "bf16")]).toHaveLength(1);
  });

  test("round trip: any tensors come back as they were", async () => {
    const tensor = fc.array(fc.nat(4), { maxLength: 3 }).chain((shape) =>
      fc
        .array(fc.float({ noNaN: true }), {
          minLength: shape.reduce((n, d) => n * d, 1),
          maxLength: shape.reduce((n, d) => n * d, 1),
        })
        .map((values): HostTensor => f32(shape, values)),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(
          fc.string().filter((s) => s !== "__metadata__" && s !== "__proto__"),
          tensor,
          { maxKeys: 5 },
        ),
        async (all) => {
          const files = memoryFiles();
          await writeSafetensors(
            files,
            "a",
            Object.entries(all).map(([name, t]) => hostTensor(name, t)),
          );
          const source = await openSafetensors(files, "a");
          expect(source.tensors.size).toBe(Object.keys(all).length);
          for (const [name, { data, shape }] of Object.entries(all)) {
            expect(source.tensors.get(name)!.shape).toEqual(shape);
            expect(await source.read(name)).toEqual(data);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("reader", () => {
  test("f16 and bf16 widen to fp32 exactly, into a given target too", async () => {
    const header = `{"h":${entry([2], [0, 4], "F16")},"b":${entry([2], [4, 8], "BF16")}}`;
    const bytes = file(header, 8);
    bytes.set([0x00, 0x3c, 0x01, 0x00, 0x80, 0x3f, 0xff, 0x7f], bytes.length - 8);
    const source = await open(bytes);
    expect(await source.read("h")).toEqual(new Float32Array([1, 2 ** -24]));
    const target = new Float32Array(2);
    expect(await source.read("b", target)).toBe(target);
    expect(target).toEqual(new Float32Array([1, Number.NaN]));
    await expect(source.read("b", new Float32Array(3))).rejects.toThrow(RangeError);
    await expect(source.read("hh")).rejects.toThrow(/"hh" is not in x.safetensors; did you mean h\?/);
  });

  const huge = (length: bigint): Uint8Array => {
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setBigUint64(0, length, true);
    bytes[8] = 0x7b;
    return bytes;
  };

  test.each([9n, 99_999_999n, 100_000_001n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n])(
    "a header of %d bytes in a file of 16 is refused before allocating",
    async (length) => {
      const before = process.memoryUsage();
      const error = await open(huge(length)).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(UserError);
      expect((error as Error).message).toContain(
        length > 10n ** 8n ? "at most 100000000 are allowed" : "the file has 16",
      );
      const after = process.memoryUsage();
      expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(2 ** 20);
    },
  );

  test("a header that does not start with '{' is refused", async () => {
    await expect(open(file(" {}", 0))).rejects.toThrow(/does not start with '\{'/);
    await expect(open(new Uint8Array(3))).rejects.toThrow(/3 bytes are too few/);
  });

  test.each([
    ["overlapping offsets", `{"a":${entry([2], [0, 8])},"b":${entry([2], [4, 12])}}`, 12, /"b": overlaps/],
    ["a hole", `{"a":${entry([1], [0, 4])},"b":${entry([1], [8, 12])}}`, 12, /"b": leaves a hole of 4 bytes/],
    ["reversed offsets", `{"a":${entry([1], [4, 0])}}`, 4, /"a": data_offsets are reversed/],
    ["trailing bytes", `{"a":${entry([1], [0, 4])}}`, 7, /3 bytes after the last tensor/],
    ["a tensor past the end", `{"a":${entry([2], [0, 8])}}`, 4, /"a": it ends at byte \d+, past the end/],
    [
      "dtype times shape unlike the bytes",
      `{"a":${entry([3], [0, 8])}}`,
      8,
      /"a": F32 \[3\] is 12 bytes, but data_offsets hold 8/,
    ],
    ["a duplicate key", `{"a":${entry([1], [0, 4])},"a":${entry([1], [0, 4])}}`, 4, /the key "a" is there twice/],
    [
      "a duplicate key, escaped",
      `{"a":${entry([1], [0, 4])},"\\u0061":${entry([1], [0, 4])}}`,
      4,
      /the key "a" is there twice/,
    ],
    ["__proto__ as a name", `{"__proto__":${entry([1], [0, 4])}}`, 4, /__proto__/],
    ["an unknown dtype", `{"a":${entry([1], [0, 4], "Q4")}}`, 4, /"a": dtype "Q4" is not one of/],
    ["a dtype that is an object's method", `{"a":${entry([1], [0, 4], "toString")}}`, 4, /dtype "toString"/],
    ["a negative dimension", `{"a":${entry([-1], [0, 4])}}`, 4, /"a": shape must be/],
    ["dimensions whose product overflows", `{"a":${entry([2 ** 52, 2 ** 52, 0.5], [0, 4])}}`, 4, /"a": shape must be/],
    ["metadata that is not text", `{"__metadata__":{"a":1}}`, 0, /__metadata__ must map strings/],
    [
      "an unknown key in a tensor",
      `{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}`,
      4,
      /"a": unknown key "x"/,
    ],
    ["null for a tensor", `{"a":null}`, 0, /"a": dtype undefined/],
  ])("%s is refused, naming the tensor", async (_, header, bytes, message) => {
    const error = await open(file(header, bytes)).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(message);
  });

  test("any mutation of a valid file gives a sound source or a typed error, never anything else", async () => {
    const valid = await nodeFiles.read(fixture);
    const mutation = fc.record({
      at: fc.nat(valid.length - 1),
      value: fc.nat(255),
      cut: fc.option(fc.nat(valid.length), { freq: 4 }),
    });
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
        let bytes = valid.slice();
        for (const { at, value, cut } of mutations) {
          if (at < bytes.length) bytes[at] = value;
          if (cut !== null) bytes = bytes.slice(0, cut);
        }
        const source = await open(bytes).catch((error: unknown) => {
          expect(error).toBeInstanceOf(UserError);
          refused++;
        });
        if (!source) return;
        for (const { name, bytes: size } of source.tensors.values())
          expect((await source.readRaw(name)).length).toBe(size);
      }),
      { numRuns: 400 },
    );
    expect(refused).toBeGreaterThan(200);
  });

  test("reading a large tensor asks for at most 4 MB at a time", async () => {
    const files = memoryFiles({ big: file(`{"w":${entry([3_000_000], [0, 12_000_000])}}`, 12_000_000) });
    const sizes: number[] = [];
    const watched: Files = {
      ...files,
      async open(path) {
        const handle = await files.open(path);
        const read: typeof handle.read = (offset, into) => {
          sizes.push(into.length);
          return handle.read(offset, into);
        };
        return { ...handle, read };
      },
    };
    const source = await openSafetensors(watched, "big");
    await source.read("w");
    await source.readRaw("w");
    expect(Math.max(...sizes)).toBeLessThanOrEqual(4 * 2 ** 20);
    expect(sizes.length).toBeGreaterThan(6);
  });
});
