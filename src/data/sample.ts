/**
 * One training row after templating, tokenising and masking. `supervised[i]` is 1 where token i is a target (it is
 * predicted from the tokens before it); `supervised[0]` is always 0. Both arrays have the same length, at least 2.
 */
export interface Sample {
  /** Row number in the source file, counted from 0. */
  readonly index: number;
  readonly ids: Int32Array;
  readonly supervised: Uint8Array;
}

/**
 * What one forward pass sees: samples laid end to end, nothing padded. Each sample is its own attention segment and its
 * positions start at 0, so packed, batched and single rows are the same thing and cannot leak into one another.
 */
export type MicroBatch = readonly Sample[];
