import { existsSync, readFileSync } from "node:fs";
import process from "node:process";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { trimHeap } from "./trim-heap.js";

const MAPS = "/proc/self/maps";
const isGlibc = existsSync(MAPS) && readFileSync(MAPS, "utf8").includes("libc.so.6");

it.runIf(isGlibc)("gives back what lies free between what is still used", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  let pieces = Array.from({ length: 2000 }, () => new Uint8Array(64 * 1024).fill(1));
  const used = pieces.filter((_, i) => i % 50 === 0);
  pieces = [];
  collect();
  const before = process.memoryUsage.rss();
  trimHeap();
  expect(before - process.memoryUsage.rss()).toBeGreaterThan(80e6);
  expect(used.every((piece) => piece.every((byte) => byte === 1))).toBe(true);
});
