import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mergeWeight } from "../../src/export/merge.js";
import { type Adapter, readAdapter } from "../../src/formats/peft/adapter.js";
import { Decoder, Sequence } from "../../src/generation/decoder.js";
import { decodeTokens } from "../../src/generation/generate.js";
import { nodeFiles } from "../../src/node/files.js";
import { uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { cpuDevice } from "./evaluate.js";
import {
  expectedUnder,
  readCase,
  readJson,
  readTensors,
  relativeError,
  type Training,
  VECTORS,
  worstError,
} from "./vectors.js";

const TOLERANCE = 1e-5;
const NAMES = ["regex", "exclude"] as const;
type Name = (typeof NAMES)[number];

const folder = `${VECTORS}blocks`;
const base = readCase("llama3");
const { config } = base;
const { rows, prompt, ...variants } = readJson(`${folder}/expected.json`) as {
  rows: { ids: number[]; supervised: number[] }[];
  prompt: number[];
} & Record<Name, { loss_sum: number; greedy: number[]; training: Training }>;
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
const betas = { betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: 0 };

beforeAll(async () => {
  for (const name of NAMES) adapters[name] = await readAdapter(nodeFiles, `${folder}/${name}`, config);
});
afterAll(() => device.dispose());

const trainerOf = (
  name: Name,
  optimizer: ConstructorParameters<typeof BlockTrainer>[1]["optimizer"],
  more: object = {},
) =>
  new BlockTrainer(
    { device, config, weights },
    {
      trainables: { kind: "lora", lora: adapters[name].config },
      initial: adapters[name].tensors,
      optimizer,
      seed: 1,
      ...more,
    },
  );

describe.each(NAMES)("an adapter with other layers in each block ('%s')", (name) => {
  it.each([{}, { checkpointing: true }])("has PEFT's loss and every gradient: %j", async (options) => {
    const trainer = trainerOf(name, betas, options);
    const { lossSum } = await trainer.evaluate(samples);
    expect(Math.abs(lossSum / variants[name].loss_sum - 1)).toBeLessThan(TOLERANCE);
    const { gradients } = await trainer.gradientsOf([samples.slice(0, 2), samples.slice(2)]);
    const wanted = expectedUnder(reference, `${name}.grad.`);
    expect([...gradients.keys()].sort()).toEqual([...wanted.keys()].sort());
    const worst = worstError(values(gradients), wanted);
    expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
    await trainer.dispose();
  });

  it("takes PEFT's ten AdamW steps", async () => {
    const { training } = variants[name];
    const { betas, eps, weight_decay: weightDecay, max_grad_norm: maxGradNorm } = training;
    const trainer = trainerOf(name, { betas, eps, weightDecay });
    for (const [i, step] of training.micro_batches.entries()) {
      const batches = step.map((micro) => micro.map((row) => samples[row]!));
      const { loss } = await trainer.step(batches, { lr: training.lr[i]!, maxGradNorm });
      expect(Math.abs(loss / training.losses[i]! - 1), `step ${i}`).toBeLessThan(1e-4);
    }
    const { parameters } = await trainer.state();
    const worst = worstError(values(parameters), expectedUnder(reference, `${name}.trained.`));
    expect(worst.error, worst.name).toBeLessThan(2e-4);
    await trainer.dispose();
  });

  it("generates PEFT's logits and greedy tokens, alone and beside the other one", async () => {
    const decoder = new Decoder({ device, config, weights });
    const resident = Object.fromEntries(
      NAMES.map((one) => [
        one,
        { config: adapters[one].config, tensors: uploadTensors(device, adapters[one].tensors) },
      ]),
    ) as Record<Name, ConstructorParameters<typeof Sequence>[2] & object>;
    const other = new Sequence(decoder, 12, resident[name === "regex" ? "exclude" : "regex"]);
    await other.feed(rows[0]!.ids);
    const sequence = new Sequence(decoder, 12, resident[name]);
    const logits = await sequence.feed(rows[1]!.ids);
    const whole = expected.get(`${name}.logits.1`)!.data as Float32Array;
    expect(relativeError(logits, whole.subarray(11 * config.vocabSize))).toBeLessThan(TOLERANCE);
    for (const one of [sequence, other]) one.dispose();
    const tokens: number[] = [];
    const { greedy } = variants[name];
    const options = { temperature: 0, maxNewTokens: greedy.length, stopIds: new Set<number>() };
    for await (const id of decodeTokens(decoder, prompt, options, resident[name])) tokens.push(id);
    expect(tokens).toEqual(greedy);
    decoder.dispose();
  });

  it("merges as merge_and_unload does, and nothing else changes", async () => {
    const merged = expectedUnder(reference, `${name}.merged.`);
    expect(merged.size).toBe(adapters[name].tensors.size / 2);
    for (const [key, { data }] of base.weights) {
      const weight = (data as Float32Array).slice();
      await mergeWeight(key, weight, adapters[name]);
      const wanted = merged.get(key);
      if (wanted) expect(relativeError(weight, wanted), key).toBeLessThan(3e-7);
      else expect(weight).toEqual(data);
    }
  });
});
