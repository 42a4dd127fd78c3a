import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { directoryFiles } from "../../src/browser/files/directory-files.js";
import { droppedFiles } from "../../src/browser/files/dropped-files.js";
import { mounts } from "../../src/browser/files/mounts.js";
import { lockFolder } from "../../src/browser/lock.js";
import { unfinishedRuns } from "../../src/browser/unfinished.js";
import { type Files, join, recoverFolder, writeFolder } from "../../src/formats/files.js";
import { memoryFiles } from "../../src/formats/memory-files.js";
import { resolveConfig, writeConfig } from "../../src/recipes/config.js";
import { UserError } from "../../src/tensor/index.js";
import { fakeLocks, fakeStorage } from "./fake-directory.js";

beforeAll(() => vi.stubGlobal("navigator", { locks: fakeLocks() }));
afterAll(() => vi.unstubAllGlobals());

const text = async (files: Files, path: string) => new TextDecoder().decode(await files.read(path));

/** Every file under a folder, and what is in it. */
async function contents(files: Files, folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of await files.list(folder)) {
    const path = join(folder, name);
    if ((await files.stat(path))?.kind === "folder") Object.assign(found, await contents(files, path));
    else found[path] = await text(files, path);
  }
  return found;
}

describe.each([true, false])("a folder of the browser; files move: %s", (moves) => {
  it("what is written is read, listed, hashed, renamed and removed", async () => {
    const files = directoryFiles(fakeStorage({ moves }).root);
    await files.makeFolder("runs/one/inner");
    const bytes = Uint8Array.from({ length: 3_000_001 }, (_, i) => (i * 7) % 251);
    const parts = [bytes.subarray(0, 5), bytes.subarray(5, 2_500_000), bytes.subarray(2_500_000)];
    await files.write("runs/one/inner/big", parts);
    await files.write("runs/one/note", "hello");
    expect(bytes.length === 3_000_001 && Buffer.compare(await files.read("runs/one/inner/big"), bytes)).toBe(0);
    expect(await files.sha256("runs/one/inner/big")).toBe(createHash("sha256").update(bytes).digest("hex"));
    expect(await files.list("runs/one")).toEqual(["inner", "note"]);
    expect(await files.stat("runs/one/inner/big")).toMatchObject({ kind: "file", size: bytes.length });
    expect(await files.stat("runs/none/deeper")).toBeUndefined();
    await files.rename("runs/one", "two");
    expect(await files.stat("runs/one")).toBeUndefined();
    expect(Buffer.compare(await files.read("two/inner/big"), bytes)).toBe(0);
    await files.write("other", "to be replaced");
    await files.rename("two/note", "other");
    expect(await text(files, "other")).toBe("hello");
    await files.remove("two");
    await files.remove("two");
    expect(await files.list("")).toEqual(["other", "runs"]);
  });
});

it("errors name the path and what to do; names out of a file stay inside", async () => {
  const storage = fakeStorage();
  const files = directoryFiles(storage.root);
  await files.makeFolder("a");
  await files.write("a/small", "123");
  await expect(files.read("a/none")).rejects.toThrow(new UserError("a/none: no such file or folder"));
  await expect(files.read("a/small", 2)).rejects.toThrow("a/small: 3 bytes, at most 2 were expected");
  await expect((await files.open("a/small")).read(2, new Uint8Array(2))).rejects.toThrow("the file ends at byte 3");
  await expect(files.open("a")).rejects.toThrow("a: a folder is where a file was expected");
  await expect(files.rename("a/none", "b")).rejects.toThrow("a/none: no such file");
  await files.makeFolder("b");
  await expect(files.rename("a", "b")).rejects.toThrow("b: something of that name is there already");
  await expect(files.inside("a", "../b")).rejects.toThrow("is refused: it has '..'");
  storage.quota = 10;
  await expect(files.write("a/large", "0123456789")).rejects.toThrow(
    "a/large: the browser's storage for this site is full",
  );
  await expect(files.write("a/small", "0123456789a")).rejects.toThrow("is full");
  expect(await contents(files, "")).toEqual({ "a/small": "123" });
});

it.each([true, false])(
  "a tab closed at any moment leaves the folder before or the one after, whole; files move: %s",
  async (moves) => {
    const fill = (files: Files, word: string) =>
      writeFolder(files, "runs/step-2", async (folder) => {
        await files.makeFolder(join(folder, "adapter"));
        for (const name of ["adapter/weights", "adapter/config", "state"]) await files.write(join(folder, name), word);
      });
    const whole = (word: string) =>
      Object.fromEntries(["adapter/config", "adapter/weights", "state"].map((name) => [`runs/step-2/${name}`, word]));
    const ends = new Set<string>();
    let closedAt = 0;
    for (let change = 0; ; change++) {
      const storage = fakeStorage({ moves });
      const first = directoryFiles(storage.root);
      await fill(first, "before");
      storage.closeAt(storage.changes + change);
      const ended = await fill(first, "after").then(
        () => true,
        () => false,
      );
      storage.closeAt(Number.POSITIVE_INFINITY);
      const next = directoryFiles(storage.root);
      await recoverFolder(next, "runs/step-2");
      const found = await contents(next, "runs/step-2");
      expect([whole("before"), whole("after")]).toContainEqual(found);
      ends.add(Object.values(found)[0]!);
      closedAt = change;
      if (ended) break;
    }
    expect(closedAt).toBeGreaterThan(20);
    expect([...ends]).toEqual(["before", "after"]);
  },
);

it("a folder has one run among all tabs; given back, it is free, and gone when it was made and is empty", async () => {
  const files = directoryFiles(fakeStorage().root);
  const release = await lockFolder(files, "runs/one");
  await expect(lockFolder(files, "runs/one")).rejects.toMatchObject({ code: "folder_in_use" });
  await release();
  expect(await files.stat("runs/one")).toBeUndefined();
  const again = await lockFolder(files, "runs/one");
  await files.write("runs/one/x", "kept");
  await again();
  expect(await files.list("runs/one")).toEqual(["x"]);
});

it("dropped files and chosen folders have a name of their own; what was dropped is only read", async () => {
  const main = directoryFiles(fakeStorage().root);
  const chosen = directoryFiles(fakeStorage().root);
  const { files, add } = mounts(main);
  const inFolder = Object.defineProperty(new File(["{}"], "config.json"), "webkitRelativePath", {
    value: "tiny/config.json",
  });
  add("dropped", droppedFiles([new File(["rows"], "rows.jsonl"), inFolder]));
  add("disk", chosen);
  expect(await files.list("")).toEqual(["disk", "dropped"]);
  expect(await files.list("dropped")).toEqual(["rows.jsonl", "tiny"]);
  expect(await text(files, "dropped/tiny/config.json")).toBe("{}");
  expect(await files.sha256("dropped/rows.jsonl")).toBe(createHash("sha256").update("rows").digest("hex"));
  expect((await files.open("dropped/rows.jsonl")).path).toBe("dropped/rows.jsonl"); // by which its owner asks for it again
  await expect(files.write("dropped/x", "")).rejects.toThrow("what was dropped can only be read");
  await expect(files.read("dropped/none")).rejects.toThrow("dropped/none: no such file");
  await files.write("disk/out", "on the disk");
  expect(await text(chosen, "out")).toBe("on the disk");
  await expect(files.rename("disk/out", "out")).rejects.toThrow("it is not in the same storage");
  expect(() => add("disk", chosen)).toThrow("'disk' is the name of other files already");
  expect(() => add("a/b", chosen)).toThrow("cannot be a name of files");
});

it("runs with a checkpoint and no result are found, with what they were started with", async () => {
  const files = memoryFiles();
  const config = resolveConfig({ base: "tiny", outputDir: "elsewhere", data: { train: "rows.jsonl" }, maxSteps: 9 });
  for (const [folder, steps] of Object.entries({ "runs/cut": [2, 4], "runs/done": [6], "runs/begun": [] })) {
    await files.write(`${folder}/config.yaml`, writeConfig(config));
    for (const step of steps) await files.write(`${folder}/checkpoints/step-${step}/complete.json`, "{}");
  }
  await files.write("runs/done/manifest.json", "{}");
  const found = await unfinishedRuns(files);
  expect(found).toMatchObject([{ outputDir: "runs/cut", step: 4, config: { maxSteps: 9, outputDir: "runs/cut" } }]);
});
