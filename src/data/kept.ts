import { random, shuffled } from "../tensor/random.js";
import type { Batches } from "./batches.js";
import { MARKS, type MicroBatch, type Sample } from "./sample.js";

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
  const { batchSize, seed } = options;
  const kept = asKept(texts);
  const lengths = kept.map(({ ids }) => ids.length).sort((a, b) => b - a);
  const largest = lengths.slice(0, batchSize).reduce((sum, length) => sum + length, 0);
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
      const drawn = shuffled(kept, random(seed, "kept", epoch, step));
      return [...own, ...keptGroups(drawn, own.flat().length, options)];
    },
  };
}

/** The kept texts that stand beside validation rows, by the share that a step has of them; the same at every evaluation. */
export function keptBeside(samples: number, texts: readonly Sample[], options: KeptOptions): MicroBatch[] {
  if (samples === 0 || texts.length === 0) return [];
  return keptGroups(shuffled(asKept(texts), random(options.seed, "kept", "validation")), samples, options);
}

/**
 * A text to stay the same on. Where special tokens end its answers they are not asked of it, unless no target is left without:
 * the rows may have something to say there.
 */
export function keptSample(sample: Sample, specialIds: ReadonlySet<number>): Sample {
  const supervised = sample.supervised.map((mark, i) => (specialIds.has(sample.ids[i]!) ? MARKS.none : mark));
  return { ...sample, side: "kept", ...(supervised.includes(MARKS.target) ? { supervised } : {}) };
}

/** Marked as kept, those that are not yet: what is known of a text goes by its sample. */
const asKept = (texts: readonly Sample[]): Sample[] =>
  texts.map((sample) => (sample.side === "kept" ? sample : { ...sample, side: "kept" }));

/** The first of these texts, as many as belong beside so many samples, in micro-batches. */
function keptGroups(texts: readonly Sample[], samples: number, { share, batchSize }: KeptOptions): MicroBatch[] {
  const most = Math.min(texts.length, Math.max(1, Math.round((samples * share) / (1 - share))));
  const count = Math.ceil(most / batchSize);
  return Array.from({ length: count }, (_, i) => texts.slice(i * batchSize, Math.min(most, (i + 1) * batchSize)));
}
