import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { UserError } from "../tensor/index.js";
import { readText } from "./read-text.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-text-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it("reads a file up to a number of bytes, and no other than UTF-8", async () => {
  const path = join(folder, "text");
  writeFileSync(path, "größer");
  expect(await readText(path, 8)).toBe("größer");
  await expect(readText(path, 7)).rejects.toThrow("text: it is larger than");
  writeFileSync(path, Uint8Array.of(0xff, 0xfe));
  await expect(readText(path, 7)).rejects.toThrow("text: it is not UTF-8 text");
  await expect(readText(folder, 7)).rejects.toThrow("this is a folder");
  await expect(readText(join(folder, "a\0b"), 7)).rejects.toThrow(UserError);
});

const unix = process.platform !== "win32";

it.skipIf(!unix)("a device without end is left after as many bytes", async () => {
  await expect(readText("/dev/zero", 1e6)).rejects.toThrow("/dev/zero: it is larger than 1 MB");
});

it.skipIf(!unix)("a pipe is read to its end, however slowly it is written; one without a writer is empty", async () => {
  const path = join(folder, "pipe");
  execFileSync("mkfifo", [path]);
  expect(await readText(path, 100)).toBe("");
  execFile("sh", ["-c", `exec 4<>'${path}'; printf a >&4; sleep 0.3; printf b >&4`]);
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(await readText(path, 100)).toBe("ab");
});
