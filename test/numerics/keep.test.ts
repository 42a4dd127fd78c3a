import { afterAll, describe, expect, it } from "vitest";
import type { Sample } from "../../src/data/sample.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { cpuDevice } from "./evaluate.js";
import {
  type CaseName,
  readAdapterOf,
  readCase,
  readJson,
  readTensors,
  relativeError,
  VECTORS,
  worstError,
} from "./vectors.js";

/** Made by PyTorch + PEFT: test/reference/make_keep.py. */
interface Expected {
  readonly weight: number;
  /** Rows that are learned, and rows that are kept. */
  readonly learned: readonly number[];
  readonly kept: readonly number[];
  readonly cases: Readonly<Partial<Record<CaseName, { readonly loss: number; readonly kl: number }>>>;
}

const TOLERANCE = 1e-5;
const { weight, learned, kept, cases } = readJson(`${VECTORS}keep/expected.json`) as Expected;
const gradients = readTensors(`${VECTORS}keep/expected.safetensors`);
const device = await cpuDevice();
afterAll(() => device.dispose());

describe.each(Object.entries(cases))("KL(base || model) on kept rows of %s", (name, expected) => {
  const reference = readCase(name as CaseName);
  const adapter = readAdapterOf(reference, "all");
  const weights = uploadTensors(device, reference.weights);
  const open = (more: object = {}) =>
    new BlockTrainer(
      { device, config: reference.config, weights },
      {
        trainables: { kind: "lora", lora: adapter.lora },
        initial: adapter.tensors,
        optimizer: { betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0 },
        keepWeight: weight,
        seed: 1,
        ...more,
      },
    );
  const own = learned.map((i) => reference.rows[i]!);
  const beside = kept.map((i): Sample => ({ ...reference.rows[i]!, side: "kept" }));

  it.each([
    { way: "one micro-batch", batches: [own, beside] },
    { way: "each alone", batches: [...own, ...beside].map((sample) => [sample]) },
    { way: "checkpointing", batches: [own, beside], more: { checkpointing: true } },
  ])("loss, KL and every gradient equal PyTorch + PEFT, $way", async ({ batches, more }) => {
    const trainer = open(more);
    const { loss, gradients: found } = await trainer.gradientsOf(batches);
    expect(Math.abs(loss / (expected.loss + weight * expected.kl) - 1)).toBeLessThan(TOLERANCE);
    const ours = new Map<string, ArrayLike<number>>();
    const theirs = new Map<string, ArrayLike<number>>();
    for (const [key, { data }] of gradients) {
      if (!key.startsWith(`${name}.`)) continue;
      const parameter = key.slice(name.length + 1);
      theirs.set(parameter, data as Float32Array);
      ours.set(parameter, found.get(parameter)!.data as Float32Array);
    }
    const worst = worstError(ours, theirs);
    expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
    const { metrics, supervisedTokens } = await trainer.step(batches, { lr: 1e-3, maxGradNorm: 0 });
    expect(Math.abs(metrics["keep/kl"]! / expected.kl - 1)).toBeLessThan(TOLERANCE);
    expect(supervisedTokens).toBe(own.reduce((sum, { supervised }) => sum + supervised.filter(Boolean).length, 0));
    await trainer.dispose();
  });

  it("a validation has the same KL, and a loss of its own rows alone; nothing is learned", async () => {
    const trainer = open();
    for (const batches of [[own, beside], [...own, ...beside].map((sample) => [sample])]) {
      const { loss, metrics } = await trainer.validate(batches);
      expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(TOLERANCE);
      expect(Math.abs(metrics["keep/kl"]! / expected.kl - 1)).toBeLessThan(TOLERANCE);
    }
    const { parameters } = await trainer.state();
    for (const [key, { data }] of parameters) expect(data, key).toEqual(adapter.tensors.get(key)!.data);
    expect(await trainer.validate([own])).toMatchObject({ metrics: {} });
    await trainer.dispose();
  });

  it("an adapter that changes nothing is exactly at the base, and kept rows pull nowhere", async () => {
    const initial = new Map(
      [...adapter.tensors].map(([key, tensor]) =>
        key.includes("lora_B") ? [key, { ...tensor, data: new Float32Array(tensor.data.length) }] : [key, tensor],
      ),
    );
    const [plain, keeping] = [open({ initial, keepWeight: undefined }), open({ initial, keepWeight: 1000 })];
    const alone = await plain.gradientsOf([own]);
    const both = await keeping.gradientsOf([own, beside]);
    for (const [key, { data }] of alone.gradients) {
      const error = relativeError(both.gradients.get(key)!.data as Float32Array, data as Float32Array);
      expect(error, key).toBeLessThan(1e-3);
    }
    expect(both.loss).toBeCloseTo(alone.loss, 3);
    await plain.dispose();
    await keeping.dispose();
  });
});
