import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Files, recoverFolder, writeFolder } from "../formats/files.js";
import { UserError } from "../tensor/index.js";
import { explain, nodeFiles } from "./files.js";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "files-"));
  await mkdir(join(root, "model"));
  await writeFile(join(root, "canary"), "alive");
});
afterEach(() => rm(root, { recursive: true, force: true }));

test.each(["../canary", "a/../../canary", "/etc/passwd", "..\\canary", "a\0b", "", ".", "a//b", "C:/canary", "./x"])(
  "the name %j out of a file is refused",
  async (name) => {
    const error = await nodeFiles.inside(join(root, "model"), name).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(/is refused: it (is empty|is absolute|has )/);
  },
);

test("a symbolic link out of the folder is refused, to a file, through a folder, and for files not there yet", async () => {
  const model = join(root, "model");
  await symlink("../canary", join(model, "link"));
  await symlink("..", join(model, "up"));
  for (const name of ["link", "up/canary", "up/new", "up"]) {
    await expect(nodeFiles.inside(model, name), name).rejects.toThrow(/leads out of the folder/);
  }
  await writeFile(join(model, "inner"), "x");
  await symlink("inner", join(model, "fine"));
  expect(await nodeFiles.inside(model, "fine")).toBe(join(model, "fine"));
  expect(await nodeFiles.inside(model, "sub/new")).toBe(join(model, "sub/new"));
  expect(await readFile(join(root, "canary"), "utf8")).toBe("alive");
});

test("a snapshot of the Hugging Face cache may link into its own repository's blobs, not beyond", async () => {
  const repository = join(root, "models--a--b");
  const snapshot = join(repository, "snapshots", "1f");
  await mkdir(snapshot, { recursive: true });
  await mkdir(join(repository, "blobs"));
  await writeFile(join(repository, "blobs", "0"), "x");
  await symlink("../../blobs/0", join(snapshot, "config.json"));
  await symlink("../../../canary", join(snapshot, "evil"));
  expect(await nodeFiles.inside(snapshot, "config.json")).toBe(join(snapshot, "config.json"));
  await expect(nodeFiles.inside(snapshot, "evil")).rejects.toThrow(/leads out/);
});

test("a write that fails half-way leaves the earlier file, and nothing beside it", async () => {
  const path = join(root, "file");
  await nodeFiles.write(path, "first");
  async function* failing() {
    yield new Uint8Array(100_000);
    throw new Error("no more");
  }
  await expect(nodeFiles.write(path, failing())).rejects.toThrow("no more");
  expect(await readFile(path, "utf8")).toBe("first");
  expect((await readdir(root)).sort()).toEqual(["canary", "file", "model"]);
});

test("a folder is written whole or not at all, and replaces an earlier one last", async () => {
  const path = join(root, "adapter");
  await writeFolder(nodeFiles, path, (folder) => nodeFiles.write(`${folder}/a`, "1"));
  const failing = writeFolder(nodeFiles, path, async (folder) => {
    await nodeFiles.write(`${folder}/b`, "2");
    throw new Error("stopped");
  });
  await expect(failing).rejects.toThrow("stopped");
  expect(await readdir(path)).toEqual(["a"]);
  await mkdir(`${path}.lowrank.partial`);
  for (const name of ["partial", "replaced"]) await writeFile(`${path}.${name}`, "somebody's");
  await writeFolder(nodeFiles, path, (folder) => nodeFiles.write(`${folder}/c`, "3"));
  expect(await readdir(path)).toEqual(["c"]);
  expect((await readdir(root)).sort()).toEqual(["adapter", "adapter.partial", "adapter.replaced", "canary", "model"]);
  for (const name of ["partial", "replaced"]) await rm(`${path}.${name}`);
});

test("a folder's name may end in a slash", async () => {
  await writeFolder(nodeFiles, join(root, "slash/"), (folder) => nodeFiles.write(`${folder}/a`, "1"));
  expect(await readdir(join(root, "slash"))).toEqual(["a"]);
  await rm(join(root, "slash"), { recursive: true });
});

test("killed at any step of replacing a folder, the old or the new one is there whole", async () => {
  for (let step = 0; ; step++) {
    const path = join(root, `run-${step}`, "adapter");
    await nodeFiles.makeFolder(path);
    await nodeFiles.write(join(path, "weights"), "old");
    let left = step;
    const killed = new Proxy(nodeFiles, {
      get: (target, key: keyof Files) => {
        const changes = ["makeFolder", "write", "remove", "rename"].includes(key);
        return (...args: never[]) => {
          if (changes && left-- <= 0) return new Promise(() => {}); // the program is gone: nothing more happens
          return (target[key] as (...all: never[]) => unknown).apply(target, args);
        };
      },
    });
    const done = writeFolder(killed, path, (folder) => killed.write(join(folder, "weights"), "new")).then(() => true);
    const finished = await Promise.race([done, new Promise<false>((resolve) => setTimeout(() => resolve(false), 50))]);
    await recoverFolder(nodeFiles, path);
    expect(["old", "new"]).toContain(await readFile(join(path, "weights"), "utf8"));
    if (finished) {
      expect(step).toBeGreaterThan(4);
      break;
    }
  }
});

test("what the system refuses is a UserError that names the path", async () => {
  await expect(nodeFiles.read(join(root, "nothing"))).rejects.toThrow(/nothing: no such file or folder/);
  await expect(nodeFiles.open(join(root, "model"))).rejects.toThrow(/this is a folder/);
  await expect(nodeFiles.write(join(root, "canary", "x"), "")).rejects.toThrow(UserError);
  await expect(nodeFiles.read(join(root, "canary"), 3)).rejects.toThrow(/5 bytes, at most 3/);
  expect(await nodeFiles.stat(join(root, "canary", "x"))).toBeUndefined();
  for (const act of [nodeFiles.stat, nodeFiles.open, nodeFiles.list, nodeFiles.makeFolder, nodeFiles.sha256])
    await expect(act(join(root, "a\0b"))).rejects.toThrow(/a\\u0000b: a path cannot have a NUL character in it/);
  await expect(nodeFiles.open(join(root, "n".repeat(300)))).rejects.toThrow("the name is too long");
  expect(() => {
    throw explain("x", Object.assign(new Error(), { code: "EOTHER", syscall: "open" }));
  }).toThrow("x: the system refuses it (EOTHER, open)");
});

test.skipIf(process.getuid?.() === 0)("a read-only folder gives a clear error", async () => {
  await chmod(join(root, "model"), 0o500);
  await expect(nodeFiles.write(join(root, "model", "x"), "y")).rejects.toThrow(/permission denied/);
});

/** Mounts a disk of 64 KiB on `path`; false where this account may not. */
function mountSmallDisk(path: string): boolean {
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "none", path], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

test("a full disk gives a clear error, and the earlier file stays whole", async (context) => {
  const disk = join(root, "model");
  if (!mountSmallDisk(disk)) return context.skip("mounting a small disk is not permitted here");
  try {
    const path = join(disk, "weights");
    await nodeFiles.write(path, new Uint8Array(30_000).fill(7));
    await expect(nodeFiles.write(path, new Uint8Array(90_000))).rejects.toThrow(/weights: the disk is full/);
    expect((await nodeFiles.read(path)).every((byte) => byte === 7)).toBe(true);
    expect(await readdir(disk)).toEqual(["weights"]);
  } finally {
    execFileSync("umount", [disk]);
  }
});

test("reads by position, and says where a file that shrank ends", async () => {
  const path = join(root, "data");
  await nodeFiles.write(path, [new Uint8Array([1, 2, 3]), new Uint8Array([4])]);
  const file = await nodeFiles.open(path);
  const two = new Uint8Array(2);
  await file.read(1, two);
  expect([...two]).toEqual([2, 3]);
  await expect(file.read(3, two)).rejects.toThrow(/the file ends at byte 4, 1 bytes early/);
  await file.close();
  expect(await nodeFiles.sha256(path)).toBe("9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a");
});
