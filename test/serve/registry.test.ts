import { afterAll, beforeAll, expect, it } from "vitest";
import { generate } from "../../src/node/index.js";
import { type AdapterRegistry, createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import type { LoadedAdapter } from "../../src/recipes/model.js";
import { type Tiny, tiny } from "./tiny.js";

const messages = [{ role: "user", content: "Where does Ada live?" }];
let t: Tiny;
let registry: AdapterRegistry;
let [a, b] = ["", ""];

beforeAll(async () => {
  t = await tiny();
  [a, b] = [await t.adapter("a", 1), await t.adapter("b", 2)];
  registry = createAdapterRegistry(t.model);
});
afterAll(() => t.dispose());

const ids = async (adapter?: LoadedAdapter, maxNewTokens = 8) =>
  (await generate(t.model, { messages }, { maxNewTokens, adapter }).result()).tokenIds.join();

async function answer(name: string, factor?: number): Promise<string> {
  const lease = registry.lease(name, factor);
  try {
    return await ids(lease.adapter);
  } finally {
    lease.release();
  }
}
const buffers = async () => (await t.model.resident.device.memory()).buffers;

it("adapters are loaded, replaced, scaled and unloaded by name; nothing of them stays", async () => {
  const bare = await ids();
  const before = await buffers();
  await registry.load("one", a);
  await registry.load("two", b);
  const [one, two] = [await answer("one"), await answer("two")];
  expect(new Set([bare, one, two]).size).toBe(3);
  registry.scale("one", 0);
  expect(await answer("one")).toBe(bare);
  registry.scale("one", 1);
  expect(await answer("one")).toBe(one);
  expect(await answer("two", 0)).toBe(bare);
  expect(await answer("two", 0.5)).not.toBe(bare);
  expect(await answer("two")).toBe(two);
  await registry.load("one", b);
  expect(await answer("one")).toBe(two);
  registry.unload("one");
  registry.unload("two");
  expect(registry.names()).toEqual([]);
  expect(await buffers()).toBe(before);
});

it("a text that has begun ends with the adapter it began with", async () => {
  await registry.load("one", a);
  const expected = await answer("one");
  const lease = registry.lease("one");
  const run = generate(t.model, { messages }, { maxNewTokens: 8, adapter: lease.adapter });
  for await (const _ of run) {
    if (!registry.names().includes("one")) continue;
    registry.scale("one", 0);
    registry.unload("one");
  }
  expect((await run.result()).tokenIds.join()).toBe(expected);
  const held = await buffers();
  lease.release();
  lease.release();
  expect(await buffers()).toBeLessThan(held);
});

it("names what is wrong and changes nothing", async () => {
  await registry.load("one", a);
  expect(() => registry.lease("on")).toThrow("Did you mean 'one'?");
  expect(() => registry.scale("one", Number.NaN)).toThrow("expected a number");
  await expect(registry.load("one", "/nowhere")).rejects.toThrow("no adapter here");
  expect(registry.names()).toEqual(["one"]);
  registry.unload("one");
});

it("leaving a text early frees its cache", async () => {
  const before = await buffers();
  for await (const _ of generate(t.model, { messages }, { maxNewTokens: 20 })) break;
  expect(await buffers()).toBe(before);
});
