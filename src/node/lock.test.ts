import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { lockFolder } from "./lock.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-lock-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const path = () => join(folder, ".lock");

it("two runs into one output folder: the second is refused, until the first is done", async () => {
  const release = await lockFolder(folder);
  await expect(lockFolder(folder)).rejects.toThrow(`another run is using this folder: process ${process.pid}`);
  await release();
  expect(existsSync(path())).toBe(false);
  await (await lockFolder(folder))();
});

it("of many parallel starts one wins, over a stale lock too", async () => {
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  for (const stale of [undefined, JSON.stringify({ pid: dead, host: hostname() })]) {
    if (stale) writeFileSync(path(), stale);
    const starts = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
    const won = starts.filter((start) => start.status === "fulfilled");
    expect(won).toHaveLength(1);
    await won[0]!.value();
  }
});

it("takes over the lock of a run that was killed, and of a process number that was given out again", async () => {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
  writeFileSync(path(), JSON.stringify({ pid: child.pid, host: hostname() }));
  await expect(lockFolder(folder)).rejects.toThrow(`process ${child.pid}`);
  if (process.platform === "linux") {
    writeFileSync(path(), JSON.stringify({ pid: child.pid, host: hostname(), began: "1" }));
    await (await lockFolder(folder))();
    writeFileSync(path(), JSON.stringify({ pid: child.pid, host: hostname() }));
  }
  child.kill("SIGKILL");
  await once(child, "exit");
  const release = await lockFolder(folder);
  expect(JSON.parse(readFileSync(path(), "utf8"))).toMatchObject({ pid: process.pid });
  await release();
});

it("does not take over what another machine holds, and takes over a lock that was cut off", async () => {
  writeFileSync(path(), JSON.stringify({ pid: 1, host: "elsewhere" }));
  await expect(lockFolder(folder)).rejects.toThrow("on elsewhere (if it is gone, delete");
  writeFileSync(path(), '{"pid": 1');
  await (await lockFolder(folder))();
});

it("leaves a .lock of another program alone", async () => {
  for (const text of ["4711\n", '{"name": "yarn"}']) {
    writeFileSync(path(), text);
    await expect(lockFolder(folder)).rejects.toThrow("this lock is not lowrank's; choose another folder");
    expect(readFileSync(path(), "utf8")).toBe(text);
  }
});

it("a folder made for a run that was refused is gone again, with those above it; one that holds something stays", async () => {
  const inner = join(folder, "runs", "a");
  await (await lockFolder(inner))();
  expect(readdirSync(folder)).toEqual([]);
  const release = await lockFolder(inner);
  writeFileSync(join(folder, "runs", "kept"), "");
  await release();
  expect(readdirSync(join(folder, "runs"))).toEqual(["kept"]);
  const second = await lockFolder(inner);
  writeFileSync(join(inner, "metrics"), "");
  await second();
  expect(readdirSync(inner)).toEqual(["metrics"]);
  const here = join(folder, "here");
  mkdirSync(here);
  await (await lockFolder(here))();
  expect(existsSync(here)).toBe(true);
  await expect(lockFolder(join(inner, "metrics"))).rejects.toThrow("cannot be made");
});
