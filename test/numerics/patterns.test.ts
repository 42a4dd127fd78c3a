import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { combineAdapters } from "../../src/export/combine.js";
import { mergeWeight } from "../../src/export/merge.js";
import { type Adapter, adaptedModule, adaptedModules, readAdapter } from "../../src/formats/peft/adapter.js";
import { Decoder, Sequence } from "../../src/generation/decoder.js";
import { decodeTokens } from "../../src/generation/generate.js";
import { loraScale } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { cpuDevice } from "./evaluate.js";
import { expectedUnder, readCase, readJson, readTensors, relativeError, VECTORS, worstError } from "./vectors.js";

const TOLERANCE = 1e-5;
const NAMES = ["qv", "all"] as const;
type Name = (typeof NAMES)[number];

const folder = `${VECTORS}patterns`;
const base = readCase("llama3");
const { config } = base;
const { rows, prompt, ...variants } = readJson(`${folder}/expected.json`) as {
  rows: { ids: number[]; supervised: number[] }[];
  prompt: number[];
} & Record<Name, { loss_sum: number; greedy: number[] }>;
const samples = rows.map(({ ids, supervised }, index) => ({
  index,
  ids: Int32Array.from(ids),
  supervised: Uint8Array.from(supervised),
}));
const expected = readTensors(`${folder}/expected.safetensors`);
const reference = { ...base, expected };
const adapters = {} as Record<Name, Adapter>;
const device = await cpuDevice();
const weights = uploadTensors(device, base.weights);
const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));

beforeAll(async () => {
  for (const name of NAMES) adapters[name] = await readAdapter(nodeFiles, `${folder}/${name}`, config);
});
afterAll(() => device.dispose());

describe.each(NAMES)("PEFT's adapter '%s' with rank_pattern and alpha_pattern", (name) => {
  it("has its ranks and scales", () => {
    const ranks = adaptedModules(adapters[name]).map(({ layer, name: linear, r }) => `${layer} ${linear} ${r}`);
    expect(ranks).toMatchSnapshot();
  });

  it.each([{}, { checkpointing: true }])("trains with PEFT's loss and every gradient: %j", async (options) => {
    const { config: lora, tensors } = adapters[name];
    const trainer = new BlockTrainer(
      { device, config, weights },
      {
        trainables: { kind: "lora", lora },
        initial: tensors,
        optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
        seed: 1,
        ...options,
      },
    );
    const { lossSum } = await trainer.evaluate(samples);
    expect(Math.abs(lossSum / variants[name].loss_sum - 1)).toBeLessThan(TOLERANCE);
    const wanted = expectedUnder(reference, `${name}.grad.`);
    for (const key of wanted.keys()) if (key.startsWith("inputs_embeds")) wanted.delete(key);
    const { gradients } = await trainer.gradientsOf([samples.slice(0, 2), samples.slice(2)]);
    const worst = worstError(values(gradients), wanted);
    expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
    await trainer.dispose();
  });

  it("generates PEFT's logits and greedy tokens", async () => {
    const { config: lora, tensors } = adapters[name];
    const adapter = { config: lora, tensors: uploadTensors(device, tensors) };
    const decoder = new Decoder({ device, config, weights });
    const sequence = new Sequence(decoder, 12, adapter);
    const logits = await sequence.feed(rows[1]!.ids);
    const whole = expected.get(`${name}.logits.1`)!.data as Float32Array;
    expect(relativeError(logits, whole.subarray(11 * config.vocabSize))).toBeLessThan(TOLERANCE);
    sequence.dispose();
    const tokens: number[] = [];
    const { greedy } = variants[name];
    const options = { temperature: 0, maxNewTokens: greedy.length, stopIds: new Set<number>() };
    for await (const id of decodeTokens(decoder, prompt, options, adapter)) tokens.push(id);
    expect(tokens).toEqual(greedy);
    decoder.dispose();
  });
});

it("merges as merge_and_unload does", async () => {
  const merged = expectedUnder(reference, "all.merged.");
  expect(merged.size).toBe(7 * config.numHiddenLayers);
  for (const [name, wanted] of merged) {
    const weight = (base.weights.get(name)!.data as Float32Array).slice();
    await mergeWeight(name, weight, adapters.all);
    expect(relativeError(weight, wanted), name).toBeLessThan(3e-7);
  }
});

/** scale B A of a module, in float64. */
function product(adapter: Adapter, path: string): Float64Array {
  const { a, b, r, scale } = adaptedModule(adapter, path)!;
  const [out, into] = [b.shape[0]!, a.shape[1]!];
  const result = new Float64Array(out * into);
  for (let o = 0; o < out; o++)
    for (let k = 0; k < r; k++)
      for (let i = 0; i < into; i++)
        result[o * into + i]! += scale * (b.data[o * r + k] as number) * (a.data[k * into + i] as number);
  return result;
}

it.each(["cat", "svd", "linear"] as const)("combines as add_weighted_adapter does: %s", (method) => {
  const parts = [
    { adapter: adapters.qv, weight: 0.7 },
    { adapter: method === "linear" ? adapters.qv : adapters.all, weight: -0.4 },
  ];
  const combined = combineAdapters(parts, { method, ...(method === "svd" ? { rank: 4 } : {}) });
  expect(combined.config).toMatchObject({ r: { cat: 11, svd: 4, linear: 6 }[method], useRslora: false });
  expect(loraScale(combined.config)).toBe(1);
  const wanted = new Map([...expected].filter(([key]) => key.startsWith(`${method}.combined.`)));
  expect(wanted.size).toBe(combined.tensors.size);
  for (const { layer, name } of adaptedModules(combined)) {
    const path = [...combined.tensors.keys()].find((key) => key.includes(`.${layer}.`) && key.includes(name))!;
    const module = path.replace(/\.lora_[AB]\.weight$/, "");
    // PEFT leaves a smaller rank's factors short, though its configuration says the full one; ours are filled with zeros.
    const [a, b] = ["A", "B"].map((factor) => wanted.get(`${method}.combined.${module}.lora_${factor}.weight`)!);
    const r = a!.shape[0]!;
    const theirs = new Map([
      [`${module}.lora_A.weight`, a!],
      [`${module}.lora_B.weight`, b!],
    ]);
    const peft: Adapter = { config: { ...combined.config, r, alpha: r }, tensors: theirs, base: {} };
    expect(relativeError(product(combined, module), product(peft, module)), module).toBeLessThan(1e-5);
  }
});
