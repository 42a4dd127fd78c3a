// Trainers of a pipeline in one process, each on a device of its own that has its stage's weights and no other.
import { afterAll, expect } from "vitest";
import { uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer, type BlockTrainerOptions } from "../../src/training/block-trainer.js";
import { readsWeight, type Stage, stagesOf } from "../../src/training/stages/stage.js";
import type { TrainerState } from "../../src/training/trainer.js";
import { cpuDevice } from "./evaluate.js";
import { ranksInProcess } from "./in-process.js";
import { type CaseName, readAdapterOf, readCase } from "./vectors.js";

const devices = [await cpuDevice(), await cpuDevice(), await cpuDevice()] as const;
afterAll(() => Promise.all(devices.map((device) => device.dispose())));

export type Options = Partial<BlockTrainerOptions> & { readonly dropout?: number; readonly layers?: readonly number[] };

export function trainerOn(rank: number, name: CaseName, { dropout = 0, layers, ...more }: Options, stage?: Stage) {
  const { config, weights } = readCase(name);
  const { lora, tensors } = readAdapterOf(readCase(name), "all");
  const own = [...weights].filter(([weight]) => !stage || readsWeight(stage, weight, config));
  const kept = [...tensors].filter(([path]) => !layers || layers.some((i) => path.includes(`layers.${i}.`)));
  const device = devices[rank]!;
  return new BlockTrainer(
    { device, config, weights: uploadTensors(device, new Map(own)) },
    {
      trainables: { kind: "lora", lora: { ...lora, dropout, ...(layers ? { layersToTransform: layers } : {}) } },
      initial: new Map(kept),
      optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
      seed: 1,
      ...more,
    },
  );
}

/** A trainer for each stage; a stage's device has the weights that it reads and no other. */
export function staged(name: CaseName, blocks: readonly number[], more: Options = {}): BlockTrainer[] {
  const stages = stagesOf(blocks);
  return ranksInProcess(stages.length).map((ranks, rank) =>
    trainerOn(rank, name, { ...more, pipeline: { ranks, stages } }, stages[rank]),
  );
}

export const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));

/** Every tensor of a state by name. */
export const tensorsOf = ({ parameters, slots }: TrainerState) =>
  [["", parameters] as const, ...slots].flatMap(([kind, part]) =>
    [...values(part)].map(([name, data]) => [`${kind} ${name}`, data] as const),
  );

/** Micro-batches of a step: one of two rows, two of one, one of the rest. */
export const stepOf = (name: CaseName) => {
  const { rows } = readCase(name);
  return [rows.slice(0, 2), [rows[2]!], [rows[3]!], rows.slice(4)];
};

/** Two steps of one trainer and of stages; clipping is left out, so that they may be the same to the last bit. */
export async function stagesAsOne(name: CaseName, blocks: readonly number[], more: Options = {}): Promise<void> {
  const steps = { lr: 1e-2, maxGradNorm: 0 };
  const alone = trainerOn(0, name, more);
  const ranks = staged(name, blocks, more);
  for (let i = 0; i < 2; i++) {
    const { gradNorm, ...expected } = await alone.step(stepOf(name), steps);
    const results = await Promise.all(ranks.map((trainer) => trainer.step(stepOf(name), steps)));
    for (const { gradNorm: norm, ...found } of results) {
      expect(found).toEqual(expected);
      expect(norm).toBe(results[0]!.gradNorm);
      expect(Math.abs(norm / gradNorm - 1)).toBeLessThan(1e-6);
    }
  }
  const validation = await alone.validate(stepOf(name));
  for (const found of await Promise.all(ranks.map((trainer) => trainer.validate(stepOf(name)))))
    expect(found).toEqual(validation);
  for (const state of await Promise.all(ranks.map((trainer) => trainer.state())))
    expect(tensorsOf(state)).toEqual(tensorsOf(await alone.state()));
  expect(ranks.every(({ trainableParameters }) => trainableParameters === alone.trainableParameters)).toBe(true);
  for (const trainer of [alone, ...ranks]) await trainer.dispose();
}
