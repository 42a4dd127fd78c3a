import { afterAll, expect, it } from "vitest";
import { MARKS, type Sample } from "../../src/data/sample.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { f32, type HostTensor } from "../../src/tensor/index.js";
import { layOut } from "../../src/training/batch-layout.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { embeddingNoise } from "../../src/training/neftune.js";
import { cpuDevice } from "./evaluate.js";
import { readAdapterOf, readCase, worstError } from "./vectors.js";

const [ALPHA, SEED] = [50, 7];
const device = await cpuDevice();
afterAll(() => device.dispose());
const reference = readCase("llama2"); // its head is not its embedding
const { config } = reference;
const adapter = readAdapterOf(reference, "all");

/** Texts of 9 and 5 tokens, no token twice. */
const samples = [9, 5].map((length, index): Sample => {
  const ids = Int32Array.from({ length }, (_, i) => 3 + 20 * index + i);
  return { index, ids, supervised: new Uint8Array(length).fill(MARKS.target, 2) };
});

const open = (weights: ReadonlyMap<string, HostTensor>, more: object = {}) =>
  new BlockTrainer(
    { device, config, weights: uploadTensors(device, weights) },
    {
      trainables: { kind: "lora", lora: adapter.lora },
      initial: adapter.tensors,
      optimizer: { betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0 },
      seed: SEED,
      ...more,
    },
  );
const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));

it("noise on the embeddings is a table with noise in it, to the loss and every gradient; validation has none", async () => {
  const name = "model.embed_tokens.weight";
  const table = reference.weights.get(name)!;
  const width = config.hiddenSize;
  const layout = layOut(samples, config.vocabSize, { tokens: (n) => n, exact: 1e9, together: 1 });
  const noise = embeddingNoise(layout, width, ALPHA, SEED, [0, 0]);
  const noisy = (table.data as Float32Array).slice();
  for (let row = 0; row < layout.tokens; row++)
    for (let i = 0; i < width; i++) noisy[Number(layout.ids[row]) * width + i]! += noise[row * width + i]!;
  const [trainer, other] = [
    open(reference.weights, { neftuneAlpha: ALPHA }),
    open(new Map([...reference.weights, [name, f32(table.shape, noisy)]])),
  ];
  const [found, expected] = [await trainer.gradientsOf([samples]), await other.gradientsOf([samples])];
  expect(Math.abs(found.loss / expected.loss - 1)).toBeLessThan(1e-6);
  const worst = worstError(values(found.gradients), values(expected.gradients));
  expect(worst.error, worst.name).toBeLessThan(2e-6);
  const plain = open(reference.weights);
  expect((await trainer.validate([samples])).loss).toBe((await plain.validate([samples])).loss);
  expect(Math.abs(found.loss / (await plain.gradientsOf([samples])).loss - 1)).toBeGreaterThan(1e-3);
  for (const one of [trainer, other, plain]) await one.dispose();
});

it("its size is alpha by the root of the text's values; the same labels draw the same, others not; filling has none", () => {
  const layout = layOut(samples, config.vocabSize, { tokens: () => 16, exact: 1e9, together: 1 });
  const draw = (...labels: number[]) => embeddingNoise(layout, 48, 5, SEED, labels);
  const noise = draw(0, 1);
  expect(draw(0, 1)).toEqual(noise);
  expect(draw(1, 1)).not.toEqual(noise);
  for (const { start, length } of layout.segments) {
    const own = noise.subarray(start * 48, (start + length) * 48);
    const bound = 5 / Math.sqrt(length * 48);
    const most = own.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    expect(most).toBeLessThanOrEqual(bound);
    expect(most).toBeGreaterThan(0.97 * bound);
  }
  expect(noise.subarray(14 * 48).every((x) => x === 0)).toBe(true);
});
