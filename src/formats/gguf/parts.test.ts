import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { exportGguf } from "../../export/gguf.js";
import { nodeFiles } from "../../node/files.js";
import { UserError } from "../../tensor/index.js";
import { type OpenModel, openModel } from "../../weights/model-folder.js";
import type { Files } from "../files.js";
import { memoryFiles } from "../memory-files.js";

const TINY = fileURLToPath(new URL("../../../models/tiny", import.meta.url));
const PARTS = ["s/m-00001-of-00003.gguf", "s/m-00002-of-00003.gguf", "s/m-00003-of-00003.gguf"] as const;
let parts: Readonly<Record<string, Uint8Array>>;
let whole: OpenModel;

beforeAll(async () => {
  const model = await openModel(nodeFiles, TINY);
  const files = memoryFiles();
  await exportGguf(files, model, undefined, "m.gguf", { type: "q8_0", name: "m" });
  const { size } = (await files.stat("m.gguf"))!;
  const first = await exportGguf(files, model, undefined, "s/m.gguf", {
    type: "q8_0",
    name: "m",
    splitMaxSize: size / 2.5,
  });
  expect(first).toBe(PARTS[0]);
  expect(await files.list("s")).toEqual(PARTS.map((path) => path.slice(2)));
  parts = Object.fromEntries(await Promise.all(PARTS.map(async (path) => [path, await files.read(path)] as const)));
  whole = await openModel(files, "m.gguf");
  await model.close();
});

test.each([...PARTS, "s"])("%s stands for the whole file", async (path) => {
  const model = await openModel(memoryFiles(parts), path);
  expect(model.config).toEqual(whole.config);
  expect(model.tokenizer).toEqual({
    ...whole.tokenizer,
    tokenizerConfig: { ...whole.tokenizer.tokenizerConfig },
  });
  expect([...model.tensors.tensors.keys()].sort()).toEqual([...whole.tensors.tensors.keys()].sort());
  for (const name of whole.tensors.tensors.keys()) {
    const [raw, expected] = [await model.tensors.readRaw(name), await whole.tensors.readRaw(name)];
    expect(raw.length === expected.length && raw.every((byte, i) => byte === expected[i]), name).toBe(true);
  }
  expect(model.tensors.files).toHaveLength(3);
  expect(await model.hash()).toBe(await (await openModel(memoryFiles(parts), PARTS[0])).hash());
  expect(model.notes).toEqual([]);
  await model.close();
});

test("what fits into one part is one file under its own name", async () => {
  const files = memoryFiles();
  const model = await openModel(nodeFiles, TINY);
  const options = { type: "q8_0", name: "m", splitMaxSize: 1e9 } as const;
  expect(await exportGguf(files, model, undefined, "m.gguf", options)).toBe("m.gguf");
  expect(await files.sha256("m.gguf")).toBe(await whole.hash());
});

describe("parts that do not make a whole are refused, naming the part", () => {
  const changed = (change: (files: Record<string, Uint8Array>) => void): Files => {
    const copy = Object.fromEntries(Object.entries(parts).map(([path, bytes]) => [path, bytes.slice()]));
    change(copy);
    return memoryFiles(copy);
  };
  /** Puts a byte behind a key of the metadata, after its length and type. */
  const put = (bytes: Uint8Array, key: string, value: number) => {
    const at = new TextDecoder("latin1").decode(bytes).indexOf(key);
    bytes[at + key.length + 4] = value;
  };
  test.each<[string, string, (files: Record<string, Uint8Array>) => void, RegExp]>([
    [
      "one is missing",
      PARTS[0],
      (f) => void delete f[PARTS[1]],
      /m-00002-of-00003\.gguf: this part .* is missing; all 3 parts/,
    ],
    [
      "they lie in different folders",
      PARTS[2],
      (f) => {
        f["other/m-00001-of-00003.gguf"] = f[PARTS[0]]!;
        delete f[PARTS[0]];
      },
      /m-00001-of-00003\.gguf: this part .* is missing/,
    ],
    [
      "two were swapped",
      PARTS[0],
      (f) => {
        [f[PARTS[1]], f[PARTS[2]]] = [f[PARTS[2]]!, f[PARTS[1]]!];
      },
      /m-00002-of-00003\.gguf: split\.no is 2, by its name it should be 1/,
    ],
    [
      "a part is of another count",
      PARTS[0],
      (f) => put(f[PARTS[1]]!, "split.count", 4),
      /00002.*split\.count is 4, .* should be 3/,
    ],
    [
      "there are other tensors",
      PARTS[0],
      (f) => put(f[PARTS[0]]!, "split.tensors.count", 9),
      /split\.tensors\.count is 9, the 3 parts hold \d+/,
    ],
    [
      "it was renamed",
      "s/model.gguf",
      (f) => {
        f["s/model.gguf"] = f[PARTS[0]]!;
      },
      /it is one of 3 parts of a split file, so its name should be like NAME-00001-of-00003\.gguf/,
    ],
    ["a part is cut short", PARTS[0], (f) => void (f[PARTS[2]] = f[PARTS[2]]!.slice(0, 900)), /00003.*is it truncated/],
  ])("%s", async (_, path, change, message) => {
    const error = await openModel(changed(change), path).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(message);
  });
});
