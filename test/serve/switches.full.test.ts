import { afterAll, beforeAll, expect, it } from "vitest";
import { applyAdapter, generate } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import type { LoadedAdapter } from "../../src/recipes/model.js";
import { type Tiny, tiny } from "./tiny.js";

// Adapters come and go over one base a thousand times.
const messages = [{ role: "user", content: "Where does Ada live?" }];
let t: Tiny;
let [a, b] = ["", ""];

beforeAll(async () => {
  t = await tiny();
  [a, b] = [await t.adapter("a", 1), await t.adapter("b", 2)];
});
afterAll(() => t.dispose());

const ids = async (adapter: LoadedAdapter | undefined, maxNewTokens: number) =>
  (await generate(t.model, { messages }, { maxNewTokens, adapter }).result()).tokenIds.join();

it("1,000 switches: bounded memory, never another adapter's output", async () => {
  const adapters = [undefined, await applyAdapter(t.model, a), await applyAdapter(t.model, b)];
  const next = (i: number) => ids(adapters[i % 3], 6); // the third text leaves the first at its fifth token
  const expected = [await next(0), await next(1), await next(2)];
  expect(new Set(expected).size).toBe(3);
  const { device } = t.model.resident;
  for (let i = 0; i < 300; i++) await next(i); // the heap settles
  const before = await device.memory();
  for (let i = 0; i < 1000; i++) expect(await next(i)).toBe(expected[i % 3]);
  const after = await device.memory();
  expect(after.buffers).toBe(before.buffers);
  // What is resident moves with the heap; a program kept a switch would be gigabytes.
  expect(after.resident - before.resident).toBeLessThan(150e6);
  for (const adapter of adapters) adapter?.dispose();
});

it("1,000 loads, switches of scale and unloads: bounded memory, never another adapter's output", async () => {
  const registry = createAdapterRegistry(t.model);
  const expected = new Map<string, string>();
  const { device } = t.model.resident;
  const turn = async (i: number) => {
    const name = `n${i % 3}`;
    if (!registry.names().includes(name)) await registry.load(name, i % 2 ? a : b);
    registry.scale(name, 1 + (i % 4));
    const lease = registry.lease(name);
    const text = await ids(lease.adapter, 2);
    lease.release();
    const key = `${i % 2} ${i % 4}`;
    if (!expected.has(key)) expected.set(key, text);
    expect(text).toBe(expected.get(key));
    registry.unload(name);
  };
  for (let i = 0; i < 300; i++) await turn(i); // the heap settles
  expect(new Set(expected.values()).size).toBeGreaterThan(1);
  const before = await device.memory();
  for (let i = 0; i < 1000; i++) await turn(i);
  const after = await device.memory();
  expect(after.buffers).toBe(before.buffers);
  expect(after.resident - before.resident).toBeLessThan(150e6);
}, 120_000);
