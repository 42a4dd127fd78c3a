import { expect, it } from "vitest";
import { define, type Fn, matmul } from "../graph/index.js";
import type { Device } from "../runtime/index.js";
import { ProgramCache } from "./programs.js";

const product = (n: number): Fn => define(`product ${n}`, (d) => ({ y: matmul(d("x", [n, 2]), d("w", [2, 2])) }));

/** A device that only counts what is compiled. */
function counting() {
  const alive = new Map<number, string>();
  let id = 0;
  const device = {
    compile: (f: Fn) => {
      alive.set(++id, f.name);
      return { id, name: f.name, inputs: [], outputs: [] };
    },
    release: (program: { id: number }) => {
      expect(alive.delete(program.id)).toBe(true);
    },
  } as unknown as Device;
  return { device, alive };
}

it("memory stays flat over any number of row lengths: the least recently used programs are released", () => {
  const { device, alive } = counting();
  const cache = new ProgramCache(device, 6);
  for (let n = 1; n <= 100; n++) {
    cache.single("often used", () => product(0));
    cache.single(`${n}`, () => product(n));
    expect(alive.size).toBeLessThanOrEqual(6);
  }
  expect([...alive.values()].sort()).toEqual([
    "product 0",
    "product 100",
    "product 96",
    "product 97",
    "product 98",
    "product 99",
  ]);
  cache.dispose();
  expect(alive.size).toBe(0);
});

it("the newest entry stays even where it alone is over the limit", () => {
  const { device, alive } = counting();
  const cache = new ProgramCache(device, 1);
  const program = cache.single("a", () => product(1));
  expect(cache.single("a", () => product(2))).toBe(program);
  expect(alive.size).toBe(1);
});
