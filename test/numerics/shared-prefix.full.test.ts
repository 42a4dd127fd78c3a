import { afterAll, describe, expect, it } from "vitest";
import { MARKS, type Sample, type Side } from "../../src/data/sample.js";
import type { ModelConfig } from "../../src/models/index.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { type HostTensor, random } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { createObjective } from "../../src/training/objectives/index.js";
import { Scorer } from "../../src/training/scorer.js";
import { sharedPrefixOf } from "../../src/training/shared-prefix.js";
import { cpuDevice } from "./evaluate.js";
import { type CaseName, readAdapterOf, readCase, worstError } from "./vectors.js";

const device = await cpuDevice();
afterAll(() => device.dispose());

/** Pairs of answers to prompts of 20 tokens or more, which begin alike or not; with `context` the better one's prompt is asked for, too. */
function pairs(vocab: number, context: boolean): Sample[] {
  const rng = random(5, "pairs");
  const draw = (n: number) => Array.from({ length: n }, () => 3 + rng.below(vocab - 3));
  return [
    { prompt: 20, alike: 0, answers: [5, 9] },
    { prompt: 31, alike: 3, answers: [8, 4] },
    { prompt: 17, alike: 0, answers: [1, 12] },
  ].flatMap(({ prompt, alike, answers }, index) => {
    const [before, same] = [draw(prompt), draw(alike)];
    return (["chosen", "rejected"] as const).map((side: Side, i): Sample => {
      const ids = Int32Array.of(...before, ...same, 3 + i, ...draw(answers[i]!));
      const supervised = new Uint8Array(ids.length).fill(MARKS.target, prompt);
      if (context && side === "chosen") supervised.fill(MARKS.context, 1, prompt);
      return { index, ids, supervised, side };
    });
  });
}

/** Chats with one system message of 24 tokens, of different lengths, and a text without it between them. */
function chats(vocab: number): Sample[] {
  const rng = random(6, "chats");
  const draw = (n: number) => Array.from({ length: n }, () => 3 + rng.below(vocab - 3));
  const system = draw(24);
  return [9, 4, 12, 0, 7, 1].map((length, index): Sample => {
    const ids = Int32Array.of(...(length > 0 ? system : draw(18)), 3 + index, ...draw(length));
    return { index, ids, supervised: new Uint8Array(ids.length).fill(MARKS.target, 20) };
  });
}

/** The same samples, no two of a pair beside each other. */
const apart = (samples: readonly Sample[]) => [0, 2, 1, 4, 3, 5].map((i) => samples[i]!);

const valuesOf = ({ gradients }: { gradients: ReadonlyMap<string, HostTensor> }) =>
  new Map([...gradients].map(([key, { data }]) => [key, data as Float32Array]));

const SHARING: readonly CaseName[] = ["llama3", "qwen3", "granite", "olmo2", "smollm3"];

describe.each(SHARING)("%s: a beginning that samples share is computed once", (name) => {
  const reference = readCase(name);
  const adapter = readAdapterOf(reference, "all");
  const model = { device, config: reference.config, weights: uploadTensors(device, reference.weights) };
  const { share: _, ...weighed } = createObjective({ name: "sft" }) as ReturnType<typeof createObjective> & {
    share?: unknown;
  };

  it.each([
    { way: "in one pass", context: false, more: {} },
    { way: "weighed afterwards, with checkpointing", context: true, more: { objective: weighed, checkpointing: true } },
  ])("loss and every gradient are those of answers by themselves, $way", async ({ context, more }) => {
    const samples = pairs(reference.config.vocabSize, context);
    const trainer = new BlockTrainer(model, {
      trainables: { kind: "lora", lora: adapter.lora },
      initial: adapter.tensors,
      optimizer: { betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0 },
      seed: 1,
      ...more,
    });
    const shared = sharedPrefixOf(reference.config);
    expect(samples.map((_, i) => shared(samples, i).prefix)).toEqual([20, 0, 34, 0, 17, 0]);
    const [once, twice] = [await trainer.gradientsOf([samples]), await trainer.gradientsOf([apart(samples)])];
    expect(Math.abs(once.loss / twice.loss - 1)).toBeLessThan(1e-6);
    const worst = worstError(valuesOf(once), valuesOf(twice));
    expect(worst.error, worst.name).toBeLessThan(1e-5);
    await trainer.dispose();
  });

  it("loss and every gradient of chats with one system message are those of each by itself", async () => {
    const samples = chats(reference.config.vocabSize);
    const trainer = new BlockTrainer(model, {
      trainables: { kind: "lora", lora: adapter.lora },
      initial: adapter.tensors,
      optimizer: { betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0 },
      seed: 1,
    });
    const shared = sharedPrefixOf(reference.config);
    const found = samples.map((_, i) => shared(samples, i)).map(({ prefix, count }) => [prefix, count]);
    expect(found.slice(0, 1).concat(found.slice(3, 5))).toEqual([
      [24, 3],
      [0, 1],
      [24, 2],
    ]);
    const once = await trainer.gradientsOf([samples]);
    const twice = await trainer.gradientsOf(samples.map((sample) => [sample]));
    expect(Math.abs(once.loss / twice.loss - 1)).toBeLessThan(1e-6);
    const worst = worstError(valuesOf(once), valuesOf(twice));
    expect(worst.error, worst.name).toBeLessThan(1e-5);
    await trainer.dispose();
  });

  it("log-probabilities come in the samples' order", async () => {
    const samples = pairs(reference.config.vocabSize, true);
    const scorer = new Scorer(model, { adapter: { config: adapter.lora, tensors: adapter.tensors } });
    const [once, twice] = [await scorer.score(samples), await scorer.score(apart(samples))];
    for (const [i, own] of apart(samples).entries()) {
      const found = once[samples.indexOf(own)]!;
      expect(found).toHaveLength(twice[i]!.length);
      for (const [j, logp] of Array.from(twice[i]!).entries()) expect(Math.abs(found[j]! - logp)).toBeLessThan(1e-5);
    }
    await scorer.dispose();
  });
});

it("is not shared where a window would hide by rows, where little is shared, or where much is hidden", () => {
  const [first, second] = pairs(96, false) as [Sample, Sample];
  const plain = readCase("llama3").config;
  const shares = (config: ModelConfig, ...samples: Sample[]) => sharedPrefixOf(config)(samples, 0).prefix;
  for (const name of ["mistral", "gemma3_text"] as const) expect(shares(readCase(name).config, first, second)).toBe(0);
  expect(shares(plain, first, second)).toBe(20);
  expect(shares(plain, first, { ...second, ids: second.ids.slice(10) })).toBe(0);
  const long = (fill: number) => Int32Array.of(...first.ids, ...new Int32Array(400).fill(fill));
  expect(shares(plain, { ...first, ids: long(5) }, { ...second, ids: long(6) })).toBe(0);
});
