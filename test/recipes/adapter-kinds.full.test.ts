import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AdapterInit,
  INITS,
  type InitName,
  KIND_KEYS,
  KINDS,
  kindAsked,
  kindOf,
} from "../../src/adapters/index.js";
import { hostTensor, writeWeights } from "../../src/formats/safetensors-writer.js";
import { Decoder, Sequence } from "../../src/generation/decoder.js";
import { linearBits, parseModulePath } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import {
  applyAdapter,
  combine,
  evaluate,
  exportAdapter,
  type LoadedAdapter,
  type LoadedModel,
  loadModel,
  loraFinetune,
  merge,
  mergeAdapter,
  plan,
  type TrainOptions,
  unmergeAdapter,
} from "../../src/node/index.js";
import { camelCase, snakeKeys } from "../../src/recipes/names.js";
import { f32 } from "../../src/tensor/index.js";
import { roundedToBits, valuesOfBits } from "../../src/weights/few-bits.js";
import { openModel } from "../../src/weights/model-folder.js";
import { readJson, readTensors, relativeError } from "../numerics/vectors.js";
import { familyFolder, familyRows, wideFolder } from "./family-folder.js";

// Every kind of adapter and every start through what a user calls, on a tiny model with biases.
const folder = mkdtempSync(join(tmpdir(), "lowrank-kinds-"));
const rows = familyRows(folder);
const base = familyFolder(folder, "bias");
const at = (...names: string[]) => join(folder, ...names);
let model: LoadedModel;
beforeAll(async () => {
  model = await loadModel(base, { threads: 1 });
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

type Lora = NonNullable<TrainOptions["lora"]>;

/** What single starts want beside their name. */
const OWN: Partial<Record<InitName, Lora>> = {
  eva: { evaConfig: { rho: 1 } },
  loftq: { loftqConfig: { loftqIter: 2 } },
};

/** The `lora` section that asks for each kind and for each start; and all of it at once. */
const CASES: [name: string, lora: Lora][] = [
  ...KIND_KEYS.map(([key, kind]): [string, Lora] => [kind, { [camelCase(key)]: true }]),
  ...(Object.keys(INITS) as InitName[]).map((init): [string, Lora] => [init, { init, ...OWN[init] }]),
  ["dora from pissa", { useDora: true, init: "pissa", dropout: 0.2, useRslora: true, rankPattern: { q_proj: 2 } }],
];

const kindOfSection = (lora: Lora) => kindAsked(snakeKeys(lora) as Record<string, unknown>) ?? "lora";

const PROMPT = [1, 40, 12, 9, 30, 77, 5, 61, 8, 23, 50, 31, 3, 18, 66, 4];

/** Logits after the prompt's last token. */
async function logits(
  { decoder }: LoadedModel,
  resident?: LoadedAdapter["resident"],
  prompt = PROMPT,
): Promise<Float32Array> {
  const sequence = new Sequence(decoder, prompt.length, resident);
  let last = await sequence.feed(prompt.slice(0, 4));
  for (const id of prompt.slice(4)) last = await sequence.feed([id]);
  sequence.dispose();
  return last.slice();
}

const options = (lora: Lora, more: Partial<TrainOptions> = {}): TrainOptions => ({
  base,
  data: { train: rows, maxSeqLen: 48, packing: true },
  lora: { targetModules: "all-linear", r: 4, alpha: 8, ...lora },
  optimizer: { lr: 0.02 },
  schedule: { name: "constant" },
  maxSteps: 3,
  threads: 1,
  ...(lora.init === "loftq" ? { basePrecision: "nf4" } : {}),
  ...more,
});

const tensorsOf = (adapter: string) => readFileSync(join(adapter, "adapter_model.safetensors"));

describe.each(CASES)("%s", (name, lora) => {
  const path = () => at(`${name}-whole`, "adapter");
  const kind = kindOfSection(lora);
  let bare: number;

  it("is trained, stops and goes on to the same bytes, and learns", async () => {
    bare = (await evaluate(model, rows)).loss;
    await loraFinetune(options(lora, { outputDir: at(`${name}-whole`), saveEvery: 1 })).result();
    await loraFinetune(options(lora, { outputDir: at(`${name}-parts`), saveEvery: 1, maxSteps: 1 })).result();
    await loraFinetune(options(lora, { outputDir: at(`${name}-parts`) }), { resume: true }).result();
    expect(tensorsOf(at(`${name}-parts`, "adapter")).equals(tensorsOf(path()))).toBe(true);
    const adapter = await applyAdapter(model, path());
    expect((await evaluate(model, rows, { adapter })).loss).toBeLessThan(bare);
    adapter.dispose();
  });

  it("is trained over a base held as nf4, its blocks recomputed, to the same bytes as without", async () => {
    const held = { basePrecision: "nf4", maxSteps: 2 } as const;
    await loraFinetune(options(lora, { ...held, outputDir: at(`${name}-nf4`) })).result();
    await loraFinetune(options(lora, { ...held, outputDir: at(`${name}-again`), checkpointing: true })).result();
    expect(tensorsOf(at(`${name}-again`, "adapter")).equals(tensorsOf(at(`${name}-nf4`, "adapter")))).toBe(true);
  });

  it("is saved as PEFT has it: the kind's key and tensors, on the base as it is", async () => {
    const json = readJson(join(path(), "adapter_config.json")) as Record<string, unknown>;
    for (const [key, asked] of KIND_KEYS) expect(json[key] ?? false, key).toBe(asked === kind);
    const { residual }: AdapterInit = INITS[lora.init ?? "gaussian"];
    const r = (lora.rankPattern ? 2 : 4) * (residual ? 2 : 1);
    expect([true, "gaussian", "eva"]).toContain(json.init_lora_weights);
    const module = "base_model.model.model.layers.1.self_attn.q_proj";
    const stored = readTensors(join(path(), "adapter_model.safetensors"));
    const own = KINDS[kind].tensors({ out: 48, in: 48, r, scale: 1 });
    for (const [tensor, shape] of Object.entries(own)) expect(stored.get(`${module}.${tensor}`)?.shape).toEqual(shape);
    expect([...stored.keys()].filter((key) => key.startsWith(`${module}.`))).toHaveLength(Object.keys(own).length);
  });

  it("computes beside the base, folded into it and merged into a folder alike", async () => {
    const adapter = await applyAdapter(model, path());
    const [without, beside] = [await logits(model), await logits(model, adapter.resident)];
    expect(relativeError(beside, without)).toBeGreaterThan(0.01);
    await mergeAdapter(model, adapter);
    expect(relativeError(await logits(model), beside)).toBeLessThan(1e-5);
    await unmergeAdapter(model);
    expect(relativeError(await logits(model), without)).toBeLessThan(1e-5);
    const report = await merge(base, path(), at(`${name}-merged`), { threads: 1 });
    expect(report.worstLogitDifference).toBeLessThan(1e-4 * report.largestLogit);
    const merged = await loadModel(at(`${name}-merged`), { threads: 1 });
    expect(relativeError(await logits(merged), beside)).toBeLessThan(1e-5);
    await merged.dispose();
    adapter.dispose();
  });

  it("is planned: its parameters, and memory for what it needs", async () => {
    const planned = await plan(options(lora));
    const stored = readTensors(join(at(`${name}-whole`, "checkpoints", "step-3"), "trainer_state.safetensors"));
    const trained = [...stored].filter(([key]) => key.startsWith("parameters.") || key.startsWith("parameter"));
    const elements = trained.reduce((n, [, { data }]) => n + data.length, 0);
    expect(planned.fits).toBe(true);
    expect(planned.trainableParameters).toBe(elements);
  });
});

describe.each(CASES.filter(([, lora]) => kindOfSection(lora) !== "lora" || lora.init === "pissa"))(
  "%s",
  (name, lora) => {
    const path = () => at(`${name}-whole`, "adapter");
    const kind = kindOfSection(lora);

    it("is exported, and says what base + adapter says; what cannot hold it refuses by name", async () => {
      const inMlx = kind === "biased" ? [] : (["mlx"] as const);
      for (const to of ["peft", "hf", "onnx", ...inMlx] as const) {
        const { gates, systems } = await exportAdapter({
          adapter: path(),
          base,
          to,
          output: at(`${name}-${to}`),
          device: "cpu",
        });
        expect(gates.map(({ found }) => found).join("\n")).toMatch(/merged (\d+) of \1, export \1 of \1/);
        const vllm = systems.find(({ system }) => system === "vLLM");
        if (to === "peft" && kind !== "lora")
          expect(vllm).toMatchObject({ loads: false, how: new RegExp(`serves no ${kindOf(kind).title} adapters`) });
      }
      const asLora = exportAdapter({
        adapter: path(),
        base,
        to: "gguf-lora",
        output: at(`${name}.gguf`),
        device: "cpu",
      });
      if (kind === "lora") await expect(asLora).resolves.toMatchObject({ to: "gguf-lora" });
      else
        await expect(asLora).rejects.toThrow(
          `holds A and B alone, and this is a ${kindOf(kind).title} adapter (${kindOf(kind).key})`,
        );
    });
  },
);

it("adapters of all kinds are decoded in one run, each as alone, at any strength, whatever another one holds", async () => {
  const loaded = await Promise.all(CASES.map(([name]) => applyAdapter(model, at(`${name}-whole`, "adapter"))));
  const broken = await applyAdapter(model, at("dora-whole", "adapter"));
  for (const view of broken.resident.tensors.values())
    model.resident.device.upload(view, new Float32Array(view.shape.reduce((a, b) => a * b)).fill(Number.NaN));
  const decoder = new Decoder(model.resident);
  decoder.leastRows = 2;
  const own = { ...model, decoder };
  const residents = [undefined, ...loaded.map(({ resident }) => resident)];
  const weak = residents.flatMap((resident) => (resident ? [{ ...resident, factor: 0.5 }] : []));
  const texts = [...residents, ...weak];
  const alone: Float32Array[] = [];
  for (const resident of texts) alone.push(await logits(own, resident));
  const together = await Promise.all([...texts, broken.resident].map((resident) => logits(own, resident)));
  for (const [i, expected] of alone.entries()) expect(together[i], `text ${i}`).toEqual(expected);
  expect(together.at(-1)!.some(Number.isNaN)).toBe(true);
  for (const { resident } of loaded) expect(await logits(own, { ...resident, factor: 0 })).toEqual(alone[0]);
  for (const [i, [name]] of CASES.entries()) {
    const [half, whole] = [alone[texts.length - CASES.length + i]!, alone[1 + i]!];
    const far = relativeError(whole, alone[0]!);
    expect(relativeError(half, alone[0]!), name).toBeGreaterThan(0.1 * far);
    expect(relativeError(half, alone[0]!), name).toBeLessThan(far);
  }
  decoder.dispose();
  for (const adapter of [...loaded, broken]) adapter.dispose();
});

it("a base whose weights change is asked again for their norms", async () => {
  const [dora, lora] = await Promise.all(
    ["dora", "gaussian"].map((name) => applyAdapter(model, at(`${name}-whole`, "adapter"))),
  );
  const before = await logits(model, dora!.resident);
  await mergeAdapter(model, lora!);
  const over = await logits(model, dora!.resident);
  const fresh = new Decoder(model.resident);
  expect(await logits({ ...model, decoder: fresh }, dora!.resident)).toEqual(over);
  fresh.dispose();
  await unmergeAdapter(model);
  expect(relativeError(await logits(model, dora!.resident), before)).toBeLessThan(1e-5);
  for (const adapter of [dora!, lora!]) adapter.dispose();
});

it("what cannot be is refused by name", async () => {
  const dora = at("dora-whole", "adapter");
  const from = (lora: Lora, adapter: string) =>
    loraFinetune(options({ r: 4, alpha: 8, ...lora }, { adapter, outputDir: at("refused"), maxSteps: 1 })).result();
  await expect(from({ useDora: true }, at("gaussian-whole"))).rejects.toThrow(
    /lora\.use_dora: .*gaussian-whole.* is LoRA, the config asks for DoRA; leave the key out/,
  );
  await expect(from({ init: "pissa" }, dora)).rejects.toThrow(/lora\.init: pissa begins with a part of the base/);
  await expect(from({ init: "eva" }, dora)).rejects.toThrow(/lora\.init: eva begins with what its layers are given/);
  const parts = { adapters: [{ path: dora, weight: 1 }], method: "linear", base, output: at("combined") } as const;
  await expect(combine(parts)).rejects.toThrow(/one of these is DoRA/);
  const bare = familyFolder(folder, "llama3");
  await loraFinetune({ ...options({ loraBias: true }), base: bare, outputDir: at("biased-bare") }).result();
  await expect(merge(bare, at("biased-bare"), at("bare-merged"), { threads: 1 })).rejects.toThrow(
    /q_proj has no bias in this model, so what lora_bias has learnt cannot be merged into it/,
  );
  const beside = {
    adapter: at("biased-bare"),
    base: bare,
    to: "peft",
    output: at("bare-peft"),
    device: "cpu",
  } as const;
  const { systems } = await exportAdapter(beside);
  expect(systems.find(({ system }) => system === "vLLM")?.how).toMatch(
    /nor can it be merged, as layers of this base have no bias/,
  );
});

/** A copy of a model whose linear layers have the values that a base in few bits has in their place. */
async function heldFolder(from: string, quantize: "int8" | "int4"): Promise<string> {
  const { config, tensors, close } = await openModel(nodeFiles, from);
  const held = [...readTensors(join(from, "model.safetensors"))].map(([name, tensor]) => {
    const target = parseModulePath(name.replace(/\.weight$/, ""));
    if (!target || tensors.tensors.get(name)!.shape.length < 2) return hostTensor(name, tensor);
    const shape = tensor.shape as readonly [number, number];
    const bits = linearBits(config, ...target, quantize === "int8" ? 8 : 4);
    const rounded = roundedToBits(tensor.data as Float32Array, shape, bits);
    return hostTensor(name, f32(shape, valuesOfBits(rounded, shape, bits)));
  });
  await close();
  const folder = `${from}-${quantize}`;
  cpSync(from, folder, { recursive: true });
  await writeWeights(nodeFiles, folder, held);
  return folder;
}

it.each(["int8", "int4"] as const)("DoRA goes by the norms of the weights that a base in %s has", async (quantize) => {
  const wide = await wideFolder(folder, "bias");
  const out = at(`wide-${quantize}`);
  await loraFinetune({ ...options({ useDora: true }), base: wide, outputDir: out }).result();
  const few = await loadModel(wide, { threads: 1, quantize });
  const plain = await loadModel(await heldFolder(wide, quantize), { threads: 1 });
  const [beside, whole] = await Promise.all([few, plain].map((model) => applyAdapter(model, out)));
  const [changed, wanted] = [await logits(few, beside!.resident), await logits(plain, whole!.resident)];
  expect(relativeError(changed, wanted)).toBeLessThan(0.02); // the engine rounds what it multiplies
  expect(relativeError(changed, await logits(few))).toBeGreaterThan(0.05);
  for (const model of [few, plain]) await model.dispose();
});

it.each(["eva", "loftq"] as const)("%s starts on a model that is loaded already to the same bytes", async (init) => {
  const lora = { init, ...(init === "eva" ? OWN.eva : {}) };
  const basePrecision = init === "loftq" ? "nf4" : "f32";
  const loaded = await loadModel(base, { threads: 1, basePrecision });
  await loraFinetune(options(lora, { outputDir: at(`${init}-apart`) })).result();
  await loraFinetune(options(lora, { outputDir: at(`${init}-shared`) }), { model: loaded }).result();
  expect(tensorsOf(at(`${init}-shared`, "adapter")).equals(tensorsOf(at(`${init}-apart`, "adapter")))).toBe(true);
  if (init === "loftq") {
    const own = loraFinetune(options({ ...lora, ...OWN.loftq }, { outputDir: at("refused") }), { model: loaded });
    await expect(own.result()).rejects.toThrow(/loftq_iter: .* a base of its own/);
  }
  await loaded.dispose();
});

it("LoRA+ goes on to the same bytes after a stop, with DoRA too, and moves B faster", async () => {
  const optimizer = { lr: 0.001, loraplusLrRatio: 16 };
  const run = (name: string, maxSteps: number, resume = false) =>
    loraFinetune(options({ useDora: true }, { optimizer, maxSteps, saveEvery: 1, outputDir: at(name) }), { resume });
  await run("plus", 3).result();
  await run("plus-parts", 1).result();
  const first = readTensors(join(at("plus-parts"), "adapter", "adapter_model.safetensors"));
  const moved = [...first].filter(([name]) => name.includes("lora_B")).flatMap(([, { data }]) => [...data].map(Number));
  expect(Math.max(...moved.map(Math.abs))).toBeCloseTo(0.016, 6); // the first step of Adam is the rate
  await run("plus-parts", 3, true).result();
  expect(tensorsOf(at("plus-parts", "adapter")).equals(tensorsOf(at("plus", "adapter")))).toBe(true);
});

it("goes on from a DoRA adapter as one", async () => {
  const run = loraFinetune(options({}, { adapter: at("dora-whole"), outputDir: at("on"), maxSteps: 1 }));
  await run.result();
  const json = readJson(join(at("on"), "adapter", "adapter_config.json"));
  expect(json).toMatchObject({ use_dora: true });
});
