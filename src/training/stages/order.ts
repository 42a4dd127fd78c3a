import type { Stage } from "./stage.js";

/** What a stage does next, and with which micro-batch of the step. */
export interface Turn {
  readonly kind: "forward" | "backward";
  readonly index: number;
}

/**
 * The order in which a stage works off the micro-batches of a step: a few forwards, then a backward for each forward, so that it
 * never keeps the activations of more than `inFlight` of them (1F1B with a flush at the end of the step: Narayanan et al. 2021,
 * "Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM", 2.2.1).
 */
export function* oneForwardOneBackward(stage: Stage, microBatches: number): Generator<Turn, void> {
  const ahead = inFlight(stage, microBatches) - 1;
  for (let i = 0; i < ahead; i++) yield { kind: "forward", index: i };
  for (let i = 0; i < microBatches; i++) {
    if (i + ahead < microBatches) yield { kind: "forward", index: i + ahead };
    yield { kind: "backward", index: i };
  }
}

/** Micro-batches whose activations a stage keeps at the same time, at most. */
export const inFlight = ({ index, count }: Pick<Stage, "index" | "count">, microBatches: number): number =>
  Math.max(1, Math.min(microBatches, count - index));

/** The share of a step in which a stage waits, where all stages take as long: (P - 1) / (M + P - 1), as in the same paper. */
export const bubbleShare = (stages: number, microBatches: number): number => (stages - 1) / (microBatches + stages - 1);
