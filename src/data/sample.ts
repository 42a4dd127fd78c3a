import type { PromptRow } from "./row.js";

/** Of a completion that was sampled: how it compares with the others, and what was said of its tokens when it was. */
export interface Rollout {
  /** Its reward less those of the others to its prompt, scaled or not. */
  readonly advantage: number;
  /** Nothing is learned from it. Default false. */
  readonly masked?: boolean;
  /** Log-probabilities of its tokens when it was sampled. Default: the model is still as it was then. */
  readonly oldLogps?: ArrayLike<number>;
  /** Those of the reference, where the objective has one. */
  readonly referenceLogps?: ArrayLike<number>;
}

/**
 * What a sequence is to its row, where a row is more than one text that is learned; "kept": it is to stay as the base has it; "teacher": it
 * is what a teacher reads.
 */
export type Side = "chosen" | "rejected" | "desirable" | "undesirable" | "mismatched" | "kept" | "teacher";

/** What `supervised` says of a token: its probability is not asked for; it is a target; it is asked for, but no part of the answer. */
export const MARKS = { none: 0, target: 1, context: 2 } as const;

/**
 * One training row after templating, tokenising and masking. `supervised[i]` is 1 where token i is a target (it is
 * predicted from the tokens before it); `supervised[0]` is always 0. Both arrays have the same length, at least 2.
 */
export interface Sample {
  /** Row number in the source file, counted from 0. */
  readonly index: number;
  readonly ids: Int32Array;
  readonly supervised: Uint8Array;
  /** Default: the row is this one sample. */
  readonly side?: Side;
  /** What a teacher reads in its place, where that is more: it has the same targets, behind another prompt. */
  readonly taughtBy?: Sample;
  /** What stays with it in one micro-batch, behind it: the other answer of a pair, or what an answer is measured against. */
  readonly beside?: readonly Sample[];
  /** Of a prompt that the model is to answer: the row. Its tokens are the prompt's, and there are no targets. */
  readonly prompt?: PromptRow;
  /** Of a completion that the model sampled. */
  readonly rollout?: Rollout;
}

/** Samples, each followed by what stays with it. */
export function together(samples: readonly Sample[]): Sample[] {
  return samples.flatMap((sample) => (sample.beside ? [sample, ...sample.beside] : [sample]));
}

/** Samples, each followed by what its teacher reads in its place. */
export function withTeachers(samples: readonly Sample[]): Sample[] {
  return samples.flatMap((sample) => (sample.taughtBy ? [sample, { ...sample.taughtBy, side: "teacher" }] : [sample]));
}

/**
 * What one forward pass sees: samples laid end to end, nothing padded. Each sample is its own attention segment and its
 * positions start at 0, so packed, batched and single rows are the same thing and cannot leak into one another.
 */
export type MicroBatch = readonly Sample[];
