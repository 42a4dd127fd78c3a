import { afterAll, expect, it } from "vitest";
import { uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import type { Communicator } from "../../src/training/communicators/communicator.js";
import { cpuDevice } from "./evaluate.js";
import { ranksInProcess } from "./in-process.js";
import { readAdapterOf, readCase, worstError } from "./vectors.js";

const devices = [await cpuDevice(), await cpuDevice()] as const;
afterAll(() => Promise.all(devices.map((device) => device.dispose())));

const reference = readCase("llama3");
const { lora, tensors } = readAdapterOf(reference, "all");
const trainerOn = (rank: 0 | 1, communicator?: Communicator) =>
  new BlockTrainer(
    { device: devices[rank], config: reference.config, weights: uploadTensors(devices[rank], reference.weights) },
    {
      trainables: { kind: "lora", lora },
      initial: tensors,
      optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
      seed: 1,
      ...(communicator ? { communicator } : {}),
    },
  );
const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));

it("two ranks with half of the rows each take the steps of one rank with all of them", async () => {
  const [first, second, ...others] = reference.rows.map((row) => [row]);
  const steps = { alone: [first!, second!, ...others], ranks: [[first!], [second!, ...others]] };
  const options = { lr: 1e-2, maxGradNorm: 0.5 };
  const alone = trainerOn(0);
  const ranks = ranksInProcess(2).map((communicator, rank) => trainerOn(rank as 0 | 1, communicator));
  for (let step = 0; step < 3; step++) {
    const expected = await alone.step(steps.alone, options);
    const found = await Promise.all(ranks.map((trainer, rank) => trainer.step(steps.ranks[rank]!, options)));
    for (const result of found) {
      expect(result).toMatchObject({
        tokens: expected.tokens,
        supervisedTokens: expected.supervisedTokens,
        applied: true,
      });
      expect(Math.abs(result.loss / expected.loss - 1)).toBeLessThan(1e-5);
      expect(Math.abs(result.gradNorm / expected.gradNorm - 1)).toBeLessThan(1e-5);
    }
  }
  const [one, zero, last] = await Promise.all([alone, ...ranks].map((trainer) => trainer.state()));
  expect(values(zero!.parameters)).toEqual(values(last!.parameters));
  const worst = worstError(values(zero!.parameters), values(one!.parameters));
  expect(worst.error, worst.name).toBeLessThan(1e-5);
  for (const trainer of [alone, ...ranks]) await trainer.dispose();
});
