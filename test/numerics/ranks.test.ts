import { afterAll, expect, it } from "vitest";
import { type Device, uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import type { Communicator } from "../../src/training/communicators/communicator.js";
import { cpuDevice } from "./evaluate.js";
import { ranksInProcess } from "./in-process.js";
import { readAdapterOf, readCase, worstError } from "./vectors.js";

const devices = await Promise.all([cpuDevice(), cpuDevice(), cpuDevice()]);
afterAll(() => Promise.all(devices.map((device) => device.dispose())));

const reference = readCase("llama3");
const { lora, tensors } = readAdapterOf(reference, "all");
const trainerOn = (device: Device, { communicator, dropout = 0, neftuneAlpha }: Differences = {}) =>
  new BlockTrainer(
    { device, config: reference.config, weights: uploadTensors(device, reference.weights) },
    {
      trainables: { kind: "lora", lora: { ...lora, dropout } },
      initial: tensors,
      optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
      seed: 1,
      neftuneAlpha,
      ...(communicator ? { communicator } : {}),
    },
  );
interface Differences {
  readonly communicator?: Communicator;
  readonly dropout?: number;
  readonly neftuneAlpha?: number;
}
const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));

const single = reference.rows.map((row) => [row]);
const noisy = { dropout: 0.3, neftuneAlpha: 5 };

it.each([
  { what: "micro-batches of a row each", ranks: 2, step: single, more: {} },
  { what: "one micro-batch, cut, with dropout and noise", ranks: 3, step: [reference.rows], more: noisy },
  { what: "more ranks than rows", ranks: 3, step: [reference.rows.slice(0, 2)], more: noisy },
])("ranks take the steps of one: $ranks, $what", async ({ ranks, step, more }) => {
  const options = { lr: 1e-2, maxGradNorm: 0.5 };
  const alone = trainerOn(devices[0]!, more);
  const shared = ranksInProcess(ranks).map((communicator, rank) =>
    trainerOn(devices[rank]!, { ...more, communicator }),
  );
  for (let i = 0; i < 3; i++) {
    const expected = await alone.step(step, options);
    for (const result of await Promise.all(shared.map((trainer) => trainer.step(step, options)))) {
      const { tokens, supervisedTokens } = expected;
      expect(result).toMatchObject({ tokens, supervisedTokens, applied: true });
      // from the same parameters; steps at this rate make more of the rounding
      expect(Math.abs(result.loss / expected.loss - 1)).toBeLessThan(i === 0 ? 1e-6 : 1e-5);
      expect(Math.abs(result.gradNorm / expected.gradNorm - 1)).toBeLessThan(1e-5);
    }
  }
  const [one, ...others] = await Promise.all([alone, ...shared].map((trainer) => trainer.state()));
  for (const other of others) expect(values(other.parameters)).toEqual(values(others[0]!.parameters));
  const worst = worstError(values(others[0]!.parameters), values(one!.parameters));
  expect(worst.error, worst.name).toBeLessThan(1e-4);
  const [validated, ...same] = await Promise.all([alone, ...shared].map((trainer) => trainer.validate(step)));
  for (const { loss } of same) expect(Math.abs(loss / validated!.loss - 1)).toBeLessThan(1e-5);
  for (const trainer of [alone, ...shared]) await trainer.dispose();
});
