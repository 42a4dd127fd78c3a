import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyAdapter,
  combine,
  evaluate,
  exportAdapter,
  inspect,
  type LoadedModel,
  loadModel,
  loraFinetune,
  merge,
  mergeAdapter,
  plan,
  type TrainOptions,
} from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { readJson, readTensors } from "../numerics/vectors.js";
import { familyFolder, familyRows, wideFolder } from "./family-folder.js";

// Weights that are trained whole beside an adapter, through what a user calls: a tied head, one of its own, and Gemma's norms.
const folder = mkdtempSync(join(tmpdir(), "lowrank-saved-"));
const rows = familyRows(folder);
const at = (...names: string[]) => join(folder, ...names);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Lora = NonNullable<TrainOptions["lora"]>;
const PREFIX = "base_model.model.";
const HEAD = "lm_head.weight";
const EMBEDDING = "model.embed_tokens.weight";
const ROWS = "model.embed_tokens.token_adapter.trainable_tokens_delta";
const BOS = 1;

const CASES = [
  ["llama2", "head", { modulesToSave: ["lm_head"] }, [HEAD]],
  ["llama3", "head", { modulesToSave: ["lm_head"] }, [HEAD]],
  ["llama3", "tokens", { trainableTokenIndices: [20, BOS, 5] }, [ROWS]],
  ["gemma2", "all", { modulesToSave: ["norm", "embed_tokens"] }, ["model.norm.weight", EMBEDDING]],
  ["qwen3", "block", { modulesToSave: ["layers.1.mlp"], targetModules: "mlp" }, ["model.layers.1.mlp.up_proj.weight"]],
] as const satisfies readonly [string, string, Lora, string[]][];

const optionsOf = (base: string, lora: Lora, more: Partial<TrainOptions> = {}): TrainOptions => ({
  base,
  data: { train: rows, maxSeqLen: 48, packing: true },
  lora: { targetModules: "all-linear", r: 4, alpha: 8, ...lora },
  optimizer: { lr: 0.02 },
  schedule: { name: "constant" },
  maxSteps: 3,
  threads: 1,
  ...more,
});
const bytesOf = (adapter: string) => readFileSync(join(adapter, "adapter_model.safetensors"));

describe.each(CASES)("%s, %s", (family, what, lora, names) => {
  const base = familyFolder(folder, family);
  const run = (name: string) => at(`${family}-${what}-${name}`);
  const train = (name: string, more: Partial<TrainOptions> = {}, again = {}) =>
    loraFinetune(optionsOf(base, lora, { outputDir: run(name), ...more }), again).result();
  const path = () => join(run("whole"), "adapter");
  let model: LoadedModel;
  beforeAll(async () => {
    model = await loadModel(base, { threads: 1 });
  });
  afterAll(() => model.dispose());

  it("is trained, stops and goes on to the same bytes, and learns", async () => {
    const bare = (await evaluate(model, rows)).loss;
    await train("whole", { saveEvery: 1 });
    await train("parts", { saveEvery: 1, maxSteps: 1 });
    await train("parts", {}, { resume: true });
    expect(bytesOf(join(run("parts"), "adapter")).equals(bytesOf(path()))).toBe(true);
    const adapter = await applyAdapter(model, path());
    expect((await evaluate(model, rows, { adapter })).loss).toBeLessThan(bare);
    adapter.dispose();
  });

  it("over a base held as nf4, blocks recomputed: the same bytes as without, and the weights whole in fp32", async () => {
    await train("nf4", { basePrecision: "nf4", maxSteps: 2 });
    await train("again", { basePrecision: "nf4", maxSteps: 2, checkpointing: true });
    expect(bytesOf(join(run("again"), "adapter")).equals(bytesOf(join(run("nf4"), "adapter")))).toBe(true);
    await train("still", { basePrecision: "nf4", maxSteps: 1, optimizer: { lr: 1e-30, weightDecay: 0 } });
    const start = readTensors(join(run("still"), "adapter", "adapter_model.safetensors"));
    const published = readTensors(join(base, "model.safetensors"));
    for (const name of names.filter((key) => key !== ROWS)) {
      const own = published.get(name) ?? published.get(EMBEDDING)!;
      expect(start.get(PREFIX + name)!.data, name).toEqual(own.data);
    }
  });

  it("is saved by PEFT's names, inspected, planned, and gone on from with nothing said", async () => {
    const stored = readTensors(join(path(), "adapter_model.safetensors"));
    const whole = [...stored.keys()].filter((key) => !key.includes(".lora_"));
    for (const name of names) expect(whole).toContain(PREFIX + name);
    const json = readJson(join(path(), "adapter_config.json")) as Record<string, unknown>;
    const { details } = await inspect(path());
    expect(details).toMatchObject(
      what === "tokens" ? { trainableTokenIndices: [20, BOS, 5] } : { modulesToSave: lora["modulesToSave" as never] },
    );
    expect(json).toMatchObject(
      what === "tokens"
        ? { trainable_token_indices: [20, BOS, 5] }
        : { modules_to_save: lora["modulesToSave" as never] },
    );
    const planned = await plan(optionsOf(base, lora));
    expect(planned.trainableParameters).toBe([...stored.values()].reduce((n, { data }) => n + data.length, 0));
    expect(planned.trainedWhole.join()).toMatch(
      what === "tokens" ? /rows of the embedding trained for .*"<s>"/ : /trained whole, /,
    );
    await loraFinetune({
      ...optionsOf(base, {}),
      lora: {},
      adapter: run("whole"),
      outputDir: run("on"),
      maxSteps: 1,
    }).result();
    const on = readTensors(join(run("on"), "adapter", "adapter_model.safetensors"));
    expect([...on.keys()].sort()).toEqual([...stored.keys()].sort());
    for (const name of names) expect(on.get(PREFIX + name)!.data).not.toEqual(stored.get(PREFIX + name)!.data);
  });

  it("is merged and exported with its weights in the base's place; what cannot hold them says so", async () => {
    const report = await merge(base, path(), run("merged"), { threads: 1 });
    expect(report.worstLogitDifference).toBeLessThan(1e-4 * report.largestLogit);
    expect(report.adapterEffect).toBeGreaterThan(0.01);
    const untied = names.some((name) => name === HEAD || name === EMBEDDING);
    const config = readJson(join(run("merged"), "config.json")) as Record<string, unknown>;
    if (untied) expect(config.tie_word_embeddings).toBe(false);
    const merged = await loadModel(run("merged"), { threads: 1 });
    const adapter = await applyAdapter(model, path());
    const [beside, inside] = [await evaluate(model, rows, { adapter }), await evaluate(merged, rows)];
    expect(Math.abs(beside.loss / inside.loss - 1)).toBeLessThan(1e-5);
    await expect(mergeAdapter(model, adapter)).rejects.toThrow(/holds weights of its own/);
    await merged.dispose();
    adapter.dispose();
    const exported = (to: "peft" | "gguf" | "onnx" | "gguf-lora" | "mlx") =>
      exportAdapter({ adapter: path(), base, to, output: run(to), device: "cpu", threads: 1 });
    // llama.cpp ties Gemma's head, whatever the file says.
    if (family === "gemma2") await expect(exported("gguf")).rejects.toThrow(/another tie_word_embeddings = false/);
    for (const to of family === "gemma2" ? (["peft", "onnx"] as const) : (["peft", "gguf"] as const)) {
      const { gates, systems } = await exported(to);
      expect(gates.map(({ found }) => found).join("\n")).toMatch(/merged (\d+) of \1, export \d+ of \1/);
      const vllm = systems.find(({ system }) => system === "vLLM");
      if (to === "peft")
        expect(vllm).toMatchObject({ loads: false, how: /serves no (modules_to_save|trainable_token)/ });
    }
    if (family === "llama3") await exported("onnx");
    await expect(exported("gguf-lora")).rejects.toThrow(/holds A and B alone, and this adapter has weights of its own/);
    await expect(exported("mlx")).rejects.toThrow(/adapters hold no whole weights/);
    const parts = { adapters: [{ path: path(), weight: 1 }], method: "linear", base, output: run("combined") } as const;
    await expect(combine(parts)).rejects.toThrow(/holds weights of its own/);
  });

  it("has no scale while it is served", async () => {
    const registry = createAdapterRegistry(model);
    await registry.load("a", path());
    expect(() => registry.scale("a", 0.5)).toThrow(/holds weights of its own .* which have no scale; leave it at 1/);
    registry.lease("a", 1).release();
    registry.dispose();
  });
});

it("what cannot be is refused by name, with what is near", async () => {
  const base = familyFolder(folder, "llama3");
  const asked = (lora: Lora, more: Partial<TrainOptions> = {}) =>
    loraFinetune(optionsOf(base, lora, { outputDir: at("refused"), maxSteps: 1, ...more })).result();
  await expect(asked({ modulesToSave: ["lm_haed"] })).rejects.toThrow(
    /lora\.modules_to_save: "lm_haed" ends the path of no module with weights; this model has .*did you mean lm_head/,
  );
  await expect(asked({ modulesToSave: ["proj"] })).rejects.toThrow(/is to be trained whole and to carry an adapter/);
  await expect(asked({ modulesToSave: ["self_attn", "mlp"] })).rejects.toThrow(/every adapted layer is among them/);
  await expect(asked({ trainableTokenIndices: [5, 160] })).rejects.toThrow(
    /token 160 is not there; this model has tokens 0 to 159/,
  );
  await expect(asked({ trainableTokenIndices: [5], modulesToSave: ["lm_head"] })).rejects.toThrow(
    /the tied head whole/,
  );
  await expect(asked({ modulesToSave: ["norm"] }, { objective: { keep: { data: rows } } })).rejects.toThrow(
    /objective\.keep: the base's final norm and head are needed as they are/,
  );
  const other = asked({ modulesToSave: ["norm"] }, { adapter: at("llama3-head-whole") });
  await expect(other).rejects.toThrow(/lora\.modules_to_save: .* has \["lm_head"\], the config asks for \["norm"\]/);
  const wide = await wideFolder(folder, "llama3");
  await loraFinetune({ ...optionsOf(wide, { modulesToSave: ["norm"] }), outputDir: at("wide") }).result();
  const few = await loadModel(wide, { threads: 1, quantize: "int4" });
  await expect(applyAdapter(few, at("wide"))).rejects.toThrow(/holds weights of its own .* quantized to 4 bits/);
  await few.dispose();
});
