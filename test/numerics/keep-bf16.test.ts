import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Sample } from "../../src/data/sample.js";
import type { Device, View } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { cpuDevice } from "./evaluate.js";
import { library, likeness, reducedDevice, rounded, uploadHalves } from "./reduced.js";
import { type CaseName, readAdapterOf, readCase, readJson, readTensors, VECTORS, worstError } from "./vectors.js";

/** Made by PyTorch + PEFT in fp32: test/reference/make_keep.py. */
interface Expected {
  readonly weight: number;
  readonly learned: readonly number[];
  readonly kept: readonly number[];
  readonly cases: Readonly<Partial<Record<CaseName, { readonly loss: number; readonly kl: number }>>>;
}
const { weight, learned, kept, cases } = readJson(`${VECTORS}keep/expected.json`) as Expected;
const expectedGradients = readTensors(`${VECTORS}keep/expected.safetensors`);

describe.skipIf(!library)("kept texts in precision: bf16", () => {
  let device: Device;
  let full: Device;
  beforeAll(async () => {
    [device, full] = [await reducedDevice(), await cpuDevice()];
  });
  afterAll(() => Promise.all([device.dispose(), full.dispose()]));

  it.each(Object.entries(cases))(
    "%s: loss, KL and every gradient are as near to fp32 as rounding allows",
    async (name, wanted) => {
      const reference = readCase(name as CaseName);
      const adapter = readAdapterOf(reference, "all");
      const batches = [
        learned.map((i) => reference.rows[i]!),
        kept.map((i): Sample => ({ ...reference.rows[i]!, side: "kept" })),
      ];
      const expected = new Map(
        [...expectedGradients]
          .filter(([key]) => key.startsWith(`${name}.`))
          .map(([key, { data }]) => [key.slice(name.length + 1), data as Float32Array]),
      );
      const measured = async (
        on: Device,
        initial: ReadonlyMap<string, HostTensor>,
        weights: ReadonlyMap<string, View>,
      ) => {
        const optimizer = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 } as const;
        const trainables = { kind: "lora", lora: adapter.lora } as const;
        const options = { trainables, initial, optimizer, keepWeight: weight, seed: 1 };
        const trainer = new BlockTrainer({ device: on, config: reference.config, weights }, options);
        const { loss, gradients } = await trainer.gradientsOf(batches);
        const { metrics } = await trainer.step(batches, { lr: 1e-3, maxGradNorm: 0 });
        await trainer.dispose();
        const values = new Map([...expected.keys()].map((key) => [key, gradients.get(key)!.data as Float32Array]));
        return { loss, kl: metrics["keep/kl"]!, gradients: values };
      };
      // What rounding the matrices alone does to the same numbers, in fp32 otherwise.
      const small = new Map([...adapter.tensors].map(([key, tensor]) => [key, rounded(tensor)]));
      const least = await measured(full, small, uploadHalves(full, reference.weights));
      const found = await measured(device, adapter.tensors, uploadHalves(device, reference.weights));
      const [worst, unavoidable] = [worstError(found.gradients, expected), worstError(least.gradients, expected)];
      expect(worst.error, worst.name).toBeLessThan(5 * unavoidable.error);
      const { cosine, norm } = likeness(found.gradients, expected);
      expect(cosine).toBeGreaterThan(0.999);
      expect(Math.abs(norm - 1)).toBeLessThan(0.04);
      expect(Math.abs(found.kl / wanted.kl - 1)).toBeLessThan(0.01);
      expect(Math.abs(found.loss / (wanted.loss + weight * wanted.kl) - 1)).toBeLessThan(0.01);
    },
  );
});
