import { random, shuffled } from "../tensor/random.js";
import type { Batches } from "./batches.js";
import type { Sample } from "./sample.js";

export interface KeptOptions {
  /** Share of a step's samples that are kept ones; at least one is. */
  readonly share: number;
  /** The most of them in a micro-batch. */
  readonly batchSize: number;
  readonly seed: number;
}

/**
 * A stream of steps with micro-batches of kept texts behind each step's own, which are as they were. Which ones depends on seed, epoch
 * and step alone; none comes twice in a step.
 */
export function withKept(batches: Batches, texts: readonly Sample[], options: KeptOptions): Batches {
  const { share, batchSize, seed } = options;
  const kept = texts.map((sample): Sample => ({ ...sample, side: "kept" }));
  const lengths = kept.map(({ ids }) => ids.length).sort((a, b) => b - a);
  const largest = lengths.slice(0, batchSize).reduce((sum, length) => sum + length, 0);
  const beside = (samples: number): number =>
    Math.min(kept.length, Math.max(1, Math.round((samples * share) / (1 - share))));
  return {
    ...batches,
    largest: {
      tokens: Math.max(batches.largest.tokens, largest),
      longest: Math.max(batches.largest.longest, lengths[0]!),
      kept: kept.reduce((sum, { supervised }) => sum + supervised.filter(Boolean).length, 0),
    },
    get cursor() {
      return batches.cursor;
    },
    get epochsDone() {
      return batches.epochsDone;
    },
    next() {
      const { epoch, step } = batches.cursor;
      const own = batches.next();
      const drawn = shuffled(kept, random(seed, "kept", epoch, step)).slice(0, beside(own.flat().length));
      const count = Math.ceil(drawn.length / batchSize);
      const groups = Array.from({ length: count }, (_, i) => drawn.slice(i * batchSize, (i + 1) * batchSize));
      return [...own, ...groups];
    },
  };
}
