/** What a sequence is to its row, where a row is more than one text that is learned. */
export type Side = "chosen" | "rejected" | "desirable" | "undesirable" | "mismatched";

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
}

/** The samples of one row, which stay in one micro-batch: a lone one, a pair, or an answer with what it is measured against. */
export type Group = readonly Sample[];

/** Sides that follow the sample that begins a row's group. */
const FOLLOWING: readonly (Side | undefined)[] = ["rejected", "mismatched"];

/** Samples in order as the groups that they are in. */
export function groupsOf(samples: readonly Sample[]): Group[] {
  const groups: Sample[][] = [];
  for (const sample of samples) {
    if (FOLLOWING.includes(sample.side)) groups.at(-1)!.push(sample);
    else groups.push([sample]);
  }
  return groups;
}

/**
 * What one forward pass sees: samples laid end to end, nothing padded. Each sample is its own attention segment and its
 * positions start at 0, so packed, batched and single rows are the same thing and cannot leak into one another.
 */
export type MicroBatch = readonly Sample[];
