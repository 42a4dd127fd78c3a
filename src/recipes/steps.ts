import type { MicroBatch } from "../data/sample.js";

/** Which micro-batches optimiser step `step` (from 0) takes. */
export interface StepPlan {
  readonly totalSteps: number;
  at(step: number): {
    readonly microBatches: readonly MicroBatch[];
    /** Passes over the rows once the step is done, e.g. 1.25. */
    readonly epoch: number;
  };
}

/**
 * Cuts epochs into optimiser steps of `accumulation` micro-batches; the last step of an epoch may have fewer. The plan is
 * a function of its arguments alone, so a resumed run only needs its step. `maxSteps` replaces `epochs` when given.
 */
export function planSteps(
  epochBatches: (epoch: number) => readonly MicroBatch[],
  options: { accumulation: number; epochs: number; maxSteps: number | null },
): StepPlan {
  const { accumulation, epochs, maxSteps } = options;
  const firstSteps = [0];
  let cached: { epoch: number; batches: readonly MicroBatch[] } | undefined;
  const batchesOf = (epoch: number) => {
    if (cached?.epoch !== epoch) cached = { epoch, batches: epochBatches(epoch) };
    return cached.batches;
  };
  const firstStep = (epoch: number): number => {
    for (let e = firstSteps.length; e <= epoch; e++) {
      firstSteps.push(firstSteps[e - 1]! + Math.ceil(batchesOf(e - 1).length / accumulation));
    }
    return firstSteps[epoch]!;
  };
  return {
    totalSteps: maxSteps ?? firstStep(epochs),
    at(step) {
      let epoch = 0;
      while (firstStep(epoch + 1) <= step) epoch++;
      const batches = batchesOf(epoch);
      const from = (step - firstStep(epoch)) * accumulation;
      const microBatches = batches.slice(from, from + accumulation);
      return { microBatches, epoch: epoch + (from + microBatches.length) / batches.length };
    },
  };
}
