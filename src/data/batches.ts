import { UserError } from "../tensor/index.js";
import { random, shuffled } from "../tensor/random.js";
import { packBestFit } from "./packing.js";
import { type MicroBatch, type Sample, together } from "./sample.js";

export interface BatchOptions {
  /** Rows in a micro-batch; a row is a sample or, with packing, as many as fit into `maxSeqLen` tokens. Default 1. */
  readonly batchSize?: number;
  /** Micro-batches in an optimiser step. Default 1. */
  readonly accumulation?: number;
  /** Default false. */
  readonly packing?: boolean;
  /** Tokens a packed row holds. Default 1024. */
  readonly maxSeqLen?: number;
  /** Default true. */
  readonly shuffle?: boolean;
  readonly seed?: number;
  /** The samples of an epoch, before they are shuffled. Default: all of them, in their order. */
  readonly draw?: ((epoch: number) => readonly Sample[]) | undefined;
}

/** A place in the stream of steps. Plain data: goes into a checkpoint as JSON and comes back the same. */
export interface Cursor {
  /** Epochs finished. */
  readonly epoch: number;
  /** Optimiser steps finished within this epoch. */
  readonly step: number;
}

/**
 * An endless, deterministic stream of optimiser steps. The last step of an epoch holds what is left (as a DataLoader with
 * drop_last=False does) and no step reaches into the next epoch. Order depends on seed and epoch alone.
 */
export interface Batches {
  /** Of the first epoch; where samples are drawn and packed, later ones may have a few more or less. */
  readonly microBatchesPerEpoch: number;
  readonly stepsPerEpoch: number;
  readonly tokensPerEpoch: number;
  /** Largest number of tokens in a micro-batch of the first epoch, the longest sample, targets of kept texts: for a memory forecast. */
  readonly largest: { readonly tokens: number; readonly longest: number; readonly kept?: number };
  /** Share of the packed rows that holds tokens; 1 without packing, where nothing is padded. */
  readonly packingEfficiency: number;
  /** Where the next step begins. */
  readonly cursor: Cursor;
  /** Epochs finished, parts of one too. */
  readonly epochsDone: number;
  /** Optimiser steps of a whole run: `maxSteps` where it is given (over any number of epochs), else those of whole epochs. */
  totalSteps(run: { readonly epochs: number; readonly maxSteps: number | null }): number;
  /** The micro-batches of the next step; moves the cursor on. */
  next(): readonly MicroBatch[];
  /** Continues from a saved cursor. Throws UserError when it is not a place in this stream. */
  seek(cursor: Cursor): void;
}

/** Opens the stream over `samples`. Throws UserError when there are none. */
export function createBatches(samples: readonly Sample[], options: BatchOptions = {}): Batches {
  if (samples.length === 0) throw new UserError("data: there are no samples to train on");
  const { batchSize = 1, accumulation = 1 } = options;
  const { rowsOf, stepsOf, ...sizes } = openEpochs(samples, options);
  let cursor: Cursor = { epoch: 0, step: 0 };
  return {
    ...sizes,
    get cursor() {
      return cursor;
    },
    get epochsDone() {
      return cursor.epoch + (cursor.step === 0 ? 0 : cursor.step / stepsOf(cursor.epoch));
    },
    totalSteps: ({ epochs, maxSteps }) =>
      maxSteps ?? Array.from({ length: epochs }, (_, epoch) => stepsOf(epoch)).reduce((a, b) => a + b, 0),
    next() {
      const { epoch, step } = cursor;
      const rowsPerStep = batchSize * accumulation;
      const mine = rowsOf(epoch).slice(step * rowsPerStep, (step + 1) * rowsPerStep);
      cursor = step + 1 < stepsOf(epoch) ? { epoch, step: step + 1 } : { epoch: epoch + 1, step: 0 };
      return groups(mine, batchSize).map((group) => together(group.flat()));
    },
    seek({ epoch, step }) {
      const whole = Number.isInteger(epoch) && Number.isInteger(step) && epoch >= 0 && step >= 0;
      const steps = stepsOf(whole ? epoch : 0);
      if (!whole || step >= steps)
        throw new UserError(
          `data: cannot continue at epoch ${epoch}, step ${step}: an epoch of this data has ${steps} steps`,
        );
      cursor = { epoch, step };
    },
  };
}

/** The rows of every epoch, made when they are asked for, and what the first one's say of them all. */
function openEpochs(samples: readonly Sample[], options: BatchOptions) {
  const { batchSize = 1, accumulation = 1, packing = false, maxSeqLen = 1024, draw } = options;
  const first = epochRows(samples, options, 0);
  let rows = { epoch: 0, list: first };
  const rowsOf = (epoch: number): Sample[][] => {
    if (rows.epoch !== epoch) rows = { epoch, list: epochRows(samples, options, epoch) };
    return rows.list;
  };
  const stepsIn = ({ length }: Sample[][]) => Math.ceil(Math.ceil(length / batchSize) / accumulation);
  const tokensPerEpoch = totalTokens(together(first.flat()));
  const longest = together(samples).reduce((most, { ids }) => Math.max(most, ids.length), 0);
  const largest = Math.max(...groups(first, batchSize).map((group) => totalTokens(together(group.flat()))));
  return {
    rowsOf,
    /** Steps of an epoch. Packed rows are as many in each, unless each has other samples. */
    stepsOf: (epoch: number): number => stepsIn(draw && packing ? rowsOf(epoch) : first),
    microBatchesPerEpoch: Math.ceil(first.length / batchSize),
    stepsPerEpoch: stepsIn(first),
    tokensPerEpoch,
    largest: { tokens: Math.max(largest, longest), longest },
    packingEfficiency: packing ? tokensPerEpoch / (first.length * capacityOf(samples, maxSeqLen)) : 1,
  };
}

/** The samples in order as micro-batches, for evaluation: `batchSize` samples each. */
export function inOrder(samples: readonly Sample[], batchSize: number): MicroBatch[] {
  return groups(samples, batchSize).map(together);
}

/** The rows of one epoch in training order: each a list of samples. */
function epochRows(samples: readonly Sample[], options: BatchOptions, epoch: number): Sample[][] {
  const { packing = false, maxSeqLen = 1024, shuffle = true, seed = 0, draw = () => samples } = options;
  const mix = <T>(items: readonly T[], what: string) =>
    shuffle ? shuffled(items, random(seed, what, epoch)) : [...items];
  const ordered = mix(draw(epoch), "shuffle");
  if (!packing) return ordered.map((sample) => [sample]);
  const bins = packBestFit(
    ordered.map((sample) => totalTokens(together([sample]))),
    capacityOf(samples, maxSeqLen),
  );
  return mix(bins, "shuffle rows").map((bin) => bin.map((i) => ordered[i]!));
}

/** Tokens that a packed row holds: as many sequences of the longest length as stay together. */
function capacityOf(samples: readonly Sample[], maxSeqLen: number): number {
  return maxSeqLen * samples.reduce((most, { beside = [] }) => Math.max(most, 1 + beside.length), 1);
}

function groups<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** Tokens of all these samples together. */
export function totalTokens(samples: readonly Sample[]): number {
  return samples.reduce((sum, { ids }) => sum + ids.length, 0);
}

/**
 * Holds back a share of the rows for validation: at least one, and at least one stays. Both parts keep the file's
 * order; which rows go depends on the seed alone. Throws UserError when there are fewer than two.
 */
export function splitValidation(
  samples: readonly Sample[],
  fraction: number,
  seed: number,
): { train: Sample[]; validation: Sample[] } {
  const rows = [...new Set(samples.map(({ index }) => index))]; // a row's samples stay together
  if (rows.length < 2) {
    throw new UserError(`data.validation: ${rows.length} rows cannot be split into training and validation`);
  }
  const count = Math.min(rows.length - 1, Math.max(1, Math.round(rows.length * fraction)));
  const held = new Set(shuffled(rows, random(seed, "validation split")).slice(0, count));
  return {
    train: samples.filter(({ index }) => !held.has(index)),
    validation: samples.filter(({ index }) => held.has(index)),
  };
}
