import { expect, it } from "vitest";
import { Lru } from "./lru.js";

it("makes a value once, drops the one not used for longest, and never the one just asked for", () => {
  const [made, dropped]: [number[], number[]] = [[], []];
  const cache = new Lru<string, number>(10, { sizeOf: (value) => value, drop: (value) => void dropped.push(value) });
  const get = (value: number) =>
    cache.get(String(value), () => {
      made.push(value);
      return value;
    });
  for (const value of [4, 5, 4, 3]) expect(get(value)).toBe(value);
  expect([made, dropped]).toEqual([[4, 5, 3], [5]]);
  get(20); // larger than all there may be: it takes the others' place, and stays until the next
  expect(dropped).toEqual([5, 4, 3]);
  expect([get(20), made.length]).toEqual([20, 4]);
  get(1);
  expect(dropped).toEqual([5, 4, 3, 20]);
  cache.clear();
  expect(dropped).toEqual([5, 4, 3, 20, 1]);
});
