import { MARKS, type Sample } from "../../data/sample.js";
import type { Scored } from "./objective.js";

/** The marks of a sample's tokens that have one. The first token has none: nothing predicts it. */
function marksOf({ supervised }: Sample): number[] {
  return Array.from(supervised.subarray(1)).filter((mark) => mark !== MARKS.none);
}

/** Tokens of samples whose log-probabilities are asked for. */
export function markedTokens(samples: readonly Sample[]): number {
  return samples.reduce((sum, sample) => sum + marksOf(sample).length, 0);
}

/** What a sequence's answer is to the model: its tokens, their log-probabilities added up, and those less the reference's. */
export interface Answer {
  readonly scored: Scored;
  readonly tokens: number;
  readonly logp: number;
  /** Mean log-probability of a token. */
  readonly mean: number;
  /** log pi / pi_ref of the whole answer. */
  readonly ratio: number;
}

export function answerOf(scored: Scored): Answer {
  const marks = marksOf(scored.sample);
  const own = Array.from(scored.logps).filter((_, i) => marks[i] === MARKS.target);
  const logp = own.reduce((sum, x) => sum + x, 0);
  return { scored, tokens: own.length, logp, mean: logp / own.length, ratio: logp - scored.reference };
}

/** Weights of a sequence's tokens: `answer` for each of its answer's, and `all` for every marked one on top. */
export function weightsOf({ sample }: Scored, answer: number, all = 0): Float64Array {
  return Float64Array.from(marksOf(sample), (mark) => all + (mark === MARKS.target ? answer : 0));
}

/** A better and a worse answer to the same. */
export interface Pair {
  readonly chosen: Answer;
  readonly rejected: Answer;
}

/** Sequences in order as pairs. */
export function pairsOf(scored: readonly Scored[]): Pair[] {
  return Array.from({ length: scored.length / 2 }, (_, i) => ({
    chosen: answerOf(scored[2 * i]!),
    rejected: answerOf(scored[2 * i + 1]!),
  }));
}

/** Pairs among samples. */
export const countPairs = (samples: readonly Sample[]): number =>
  samples.filter(({ side }) => side === "chosen").length;

/** TRL's metrics of pairs: their rewards and the answers' log-probabilities, as sums and counts. */
export function pairMetrics(
  pairs: readonly Pair[],
  reward: (answer: Answer) => number,
  logp: (answer: Answer) => number = (answer) => answer.logp,
): Record<string, [number, number]> {
  const over = (f: (pair: Pair) => number): [number, number] => [
    pairs.reduce((sum, pair) => sum + f(pair), 0),
    pairs.length,
  ];
  return {
    "rewards/chosen": over(({ chosen }) => reward(chosen)),
    "rewards/rejected": over(({ rejected }) => reward(rejected)),
    "rewards/accuracies": over(({ chosen, rejected }) => Number(reward(chosen) > reward(rejected))),
    "rewards/margins": over(({ chosen, rejected }) => reward(chosen) - reward(rejected)),
    "logps/chosen": over(({ chosen }) => logp(chosen)),
    "logps/rejected": over(({ rejected }) => logp(rejected)),
  };
}
