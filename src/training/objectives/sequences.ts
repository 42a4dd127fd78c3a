import { MARKS, type Sample } from "../../data/sample.js";

/** Tokens of samples whose log-probabilities are asked for. */
export function markedTokens(samples: readonly Sample[]): number {
  return samples.reduce((sum, sample) => sum + marksOf(sample).length, 0);
}

/** The marks of a sample's tokens that have one. The first token has none: nothing predicts it. */
export function marksOf({ supervised }: Sample): number[] {
  return Array.from(supervised.subarray(1)).filter((mark) => mark !== MARKS.none);
}
