import { cpSync, renameSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { generate } from "../../src/node/index.js";
import { type AdapterRegistry, createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { type HotReload, watchAdapters } from "../../src/server/index.js";
import { type Tiny, tiny } from "./tiny.js";

const messages = [{ role: "user", content: "Where does Ada live?" }];
let t: Tiny;
let registry: AdapterRegistry;
let watch: HotReload;
let [a, b, place] = ["", "", ""];
const told: string[] = [];
const reloaded: string[] = [];
const texts = new Map<string, string>();

beforeAll(async () => {
  t = await tiny();
  [a, b] = [await t.adapter("a", 1), await t.adapter("b", 2)];
  place = join(dirname(a), "place");
  registry = createAdapterRegistry(t.model);
  watch = watchAdapters(registry, {
    seconds: 1e6,
    onReload: (name) => reloaded.push(name),
    onError: (error) => told.push((error as Error).message),
  });
  for (const path of [a, b]) {
    await registry.load("x", path);
    texts.set(path, await say());
  }
  registry.unload("x");
});
afterAll(async () => {
  watch.close();
  await t.dispose();
});
beforeEach(async () => {
  rmSync(place, { recursive: true, force: true });
  cpSync(a, place, { recursive: true });
  await registry.load("x", place);
  told.length = reloaded.length = 0;
});

async function say(): Promise<string> {
  const lease = registry.lease("x");
  const { text } = await generate(t.model, { messages }, { maxNewTokens: 8, adapter: lease.adapter }).result();
  lease.release();
  return text;
}
const weights = (path: string) => join(path, "adapter_model.safetensors");
async function looks(count: number) {
  for (let i = 0; i < count; i++) await watch.check();
}

it("a folder that changed is loaded when it is quiet; nothing of the old one stays, and its scale does", async () => {
  await looks(3);
  expect(reloaded).toEqual([]);
  await say();
  const before = (await t.model.resident.device.memory()).buffers;
  registry.scale("x", 0.5);
  cpSync(weights(b), weights(place));
  await looks(1);
  expect(reloaded).toEqual([]);
  await looks(1);
  expect(reloaded).toEqual(["x"]);
  registry.scale("x", 1);
  expect(await say()).toBe(texts.get(b));
  expect((await t.model.resident.device.memory()).buffers).toBe(before);
  await looks(2);
  expect(reloaded).toEqual(["x"]);
});

it("a folder that is renamed into place is seen, also with the files' old times", async () => {
  renameSync(place, `${place}.old`);
  await looks(3); // gone: what was loaded stays
  expect(await say()).toBe(texts.get(a));
  cpSync(b, `${place}.new`, { recursive: true, preserveTimestamps: true });
  utimesSync(weights(`${place}.new`), 1e9, 1e9);
  renameSync(`${place}.new`, place);
  await looks(2);
  expect(await say()).toBe(texts.get(b));
  rmSync(`${place}.old`, { recursive: true });
  expect(told).toEqual([]);
});

it("half-written folders never load: cut short, still growing, or of another shape; told once, served as before", async () => {
  truncateSync(weights(place), 300);
  await looks(4);
  expect(told).toHaveLength(1);
  expect(await say()).toBe(texts.get(a));
  cpSync(weights(b), weights(place));
  for (let i = 0; i < 5; i++) {
    writeFileSync(join(place, "growing.partial"), "x".repeat(i + 1));
    await looks(1);
  }
  expect(reloaded).toEqual([]);
  expect(await say()).toBe(texts.get(a));
  rmSync(join(place, "growing.partial"));
  await looks(2);
  expect(reloaded).toEqual(["x"]);
  expect(await say()).toBe(texts.get(b));
  expect(told).toHaveLength(1);
});

it("what changes while it is read is read again", async () => {
  cpSync(weights(b), weights(place));
  await looks(1);
  const { files } = t.model.platform;
  const { read } = files;
  let reads = 0;
  const meddling = {
    ...files,
    async read(...args: Parameters<typeof read>) {
      if (reads++ === 0) utimesSync(weights(place), 1e9, 1e9);
      return read.apply(files, args);
    },
  };
  const meddled = { ...registry, model: { ...t.model, platform: { ...t.model.platform, files: meddling } } };
  const other = watchAdapters(meddled, { seconds: 1e6, onReload: (name) => reloaded.push(name) });
  await other.check();
  await other.check();
  expect(reads).toBeGreaterThan(0);
  expect(reloaded).toEqual([]);
  await other.check();
  await other.check();
  expect(reloaded).toEqual(["x"]);
  other.close();
});

it("a text that has begun ends with the adapter it began with", async () => {
  const lease = registry.lease("x");
  const run = generate(t.model, { messages }, { maxNewTokens: 8, adapter: lease.adapter });
  for await (const _ of run) {
    if (reloaded.length > 0) continue;
    cpSync(weights(b), weights(place));
    await looks(2);
  }
  lease.release();
  expect(reloaded).toEqual(["x"]);
  expect((await run.result()).text).toBe(texts.get(a));
  expect(await say()).toBe(texts.get(b));
});

it("names that are unloaded, or loaded from elsewhere meanwhile, are left alone", async () => {
  cpSync(weights(b), weights(place));
  await looks(1);
  await registry.load("x", a);
  await looks(3);
  expect(reloaded).toEqual([]);
  registry.unload("x");
  await looks(2);
  expect(told).toEqual([]);
});
