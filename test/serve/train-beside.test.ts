import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generate, loadModel, loraFinetune } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { servingCheckpoints } from "../../src/server/index.js";
import { BASE, type Tiny, tiny } from "./tiny.js";

let t: Tiny;
let folder: string;
beforeAll(async () => {
  t = await tiny();
  folder = mkdtempSync(join(tmpdir(), "lowrank-beside-"));
});
afterAll(async () => {
  await t.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const messages = [{ role: "user", content: "Where does Ada live?" }];
const config = (name: string) => ({
  base: BASE,
  outputDir: join(folder, name),
  threads: 1,
  data: { train: join(BASE, "data/train.jsonl"), maxSeqLen: 64 },
  batchSize: 4,
  maxSteps: 6,
  saveEvery: 2,
});
const hashOf = (name: string) =>
  createHash("sha256")
    .update(readFileSync(join(folder, name, "adapter/adapter_model.safetensors")))
    .digest("hex");

it("trains on the weights that others generate with, to the same bytes as alone; texts are as ever, and nothing stays", async () => {
  await loraFinetune(config("alone")).result();
  const { device } = t.model.resident;
  const say = async () => (await generate(t.model, { messages }, { maxNewTokens: 12 }).result()).text;
  const expected = await say();
  const before = (await device.memory()).buffers;
  let most = before;
  let texts = 0;
  const run = loraFinetune(config("beside"), { model: t.model });
  let training = true;
  const talk = (async () => {
    while (training) {
      expect(await say()).toBe(expected);
      most = Math.max(most, (await device.memory()).buffers);
      texts++;
    }
  })();
  const { adapter } = await run.result();
  training = false;
  await talk;
  expect(adapter).toBe(join(folder, "beside/adapter"));
  expect(hashOf("beside")).toBe(hashOf("alone"));
  expect(texts).toBeGreaterThan(1);
  expect((await device.memory()).buffers).toBe(before);
  expect(most).toBeGreaterThan(before);
});

it("the same on a base held in four bits; a config that wants it held otherwise is refused", async () => {
  const model = await loadModel(BASE, { threads: 1, basePrecision: "nf4" });
  const settings = (name: string) => ({ ...config(name), basePrecision: "nf4" as const });
  await loraFinetune(settings("alone-nf4")).result();
  const say = async () => (await generate(model, { messages }, { maxNewTokens: 12 }).result()).text;
  const expected = await say();
  const run = loraFinetune(settings("beside-nf4"), { model });
  let texts = 0;
  for await (const event of run) {
    if (event.type !== "step") continue;
    const [first, second] = await Promise.all([say(), say()]);
    expect([first, second]).toEqual([expected, expected]);
    texts++;
  }
  expect(texts).toBe(6);
  expect(hashOf("beside-nf4")).toBe(hashOf("alone-nf4"));
  const other = { ...config("other"), basePrecision: "int8" as const };
  await expect(loraFinetune(other, { model }).result()).rejects.toThrow("the loaded model is held as nf4");
  await model.dispose();
});

it("a token waits for a part of a step, not for all of it", async () => {
  const gaps: number[] = [];
  const steps: number[] = [];
  const control = new AbortController();
  const slow = { ...config("slow"), batchSize: 16, gradientAccumulationSteps: 4, maxSteps: 3, saveEvery: 0 };
  const run = loraFinetune(slow, { model: t.model, signal: control.signal });
  const training = (async () => {
    let at = performance.now();
    for await (const event of run) {
      if (event.type === "step") steps.push(performance.now() - at);
      at = performance.now();
    }
  })();
  while (steps.length < 3) {
    let at = performance.now();
    const gen = generate(t.model, { messages }, { maxNewTokens: 8, onToken: () => {}, logprobs: 0 });
    for await (const _ of gen) {
      gaps.push(performance.now() - at);
      at = performance.now();
    }
  }
  await training;
  gaps.sort((a, b) => a - b);
  expect(gaps[gaps.length >> 1]!).toBeLessThan(Math.min(...steps) / 2);
});

it("a checkpoint that cannot be served is a note; training goes on, and those that the run deletes are unloaded", async () => {
  const registry = createAdapterRegistry(t.model);
  const output = join(folder, "served");
  const run = loraFinetune({ ...config("served"), keepLast: 1 }, { model: t.model });
  const seen: string[] = [];
  const damaging = (async function* () {
    for await (const event of run) {
      if (event.type === "checkpoint" && event.step === 4) rmSync(join(event.path, "adapter"), { recursive: true });
      yield event;
    }
  })();
  for await (const event of servingCheckpoints(registry, damaging, output)) {
    if (event.type === "note" && event.message.includes("cannot be served")) seen.push(event.message.slice(0, 6));
    if (event.type === "checkpoint") seen.push(registry.names().join(" "));
  }
  expect(seen).toEqual(["step-2 latest", "step-4", "latest", "step-6 latest"]);
  registry.dispose();
});

it("refuses what cannot share a base", async () => {
  const run = (more: object) => loraFinetune({ ...config("no"), ...more }, { model: t.model }).result();
  await expect(run({ base: "other" })).rejects.toThrow("the loaded model is");
  await expect(run({ fullFinetune: true })).rejects.toThrow("full_finetune changes the base's own weights");
  await expect(run({ precision: "bf16" })).rejects.toThrow("loaded with f32");
});
