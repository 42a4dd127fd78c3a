import { MARKS, type Sample } from "../../data/sample.js";
import { ended } from "./ended.js";
import { logisticLoss } from "./math.js";
import type { Objective, ObjectiveKind, Part, Scored, Totals } from "./objective.js";
import { countPairs, markedTokens, type Pair, pairMetrics, pairsOf, weightsOf } from "./sequences.js";

/** Odds ratio preference optimisation (Hong et al. 2024): cross entropy of the better answer, and the odds of it over the worse. */
export const orpo: ObjectiveKind = {
  description: "cross entropy of better answers and their odds over worse ones",
  rows: "pairs",
  usesReference: false,
  defaults: { beta: 0.1 },
  create: ({ beta }): Objective => ({
    usesReference: false,
    sequences: (samples, options) => ended(samples, options).map(withPrompt),
    count: (batch) => ({
      pairs: countPairs(batch),
      tokens: markedTokens(batch.filter(({ side }) => side === "chosen")),
    }),
    loss: (scored, totals) => lossOf(scored, totals, beta),
  }),
};

/** The cross entropy is of prompt and answer, as TRL has it: the better answer's prompt is asked for too. */
function withPrompt(sample: Sample): Sample {
  if (sample.side !== "chosen") return sample;
  const mark = (own: number, i: number) => (i > 0 && own === MARKS.none ? MARKS.context : own);
  return { ...sample, supervised: sample.supervised.map(mark) };
}

function lossOf(scored: readonly Scored[], totals: Totals, beta: number): Part {
  const pairs = pairsOf(scored);
  const found = pairs.map((pair) => pairLoss(pair, totals, beta));
  const sum = (of: (own: (typeof found)[number]) => number) => found.reduce((all, own) => all + of(own), 0);
  return {
    loss: sum(({ nll, ratio }) => nll / totals.tokens! + (beta * ratio) / totals.pairs!),
    weights: found.flatMap(({ weights }) => weights),
    metrics: {
      ...pairMetrics(
        pairs,
        ({ mean }) => beta * mean,
        ({ mean }) => mean,
      ),
      nll_loss: [sum(({ nll }) => nll), markedTokens(pairs.map(({ chosen }) => chosen.scored.sample))],
      log_odds_ratio: [-sum(({ ratio }) => ratio), pairs.length],
      log_odds_chosen: [sum(({ odds }) => odds), pairs.length],
    },
  };
}

/** Mean log-probabilities m: their log odds are m - log(1 - exp m), of slope 1 / (1 - exp m). */
const oddsOf = (mean: number) => ({ value: mean - Math.log(-Math.expm1(mean)), slope: -1 / Math.expm1(mean) });

function pairLoss({ chosen, rejected }: Pair, totals: Totals, beta: number) {
  const [better, worse] = [oddsOf(chosen.mean), oddsOf(rejected.mean)];
  const odds = better.value - worse.value;
  const { value, slope } = logisticLoss(odds);
  const share = (beta * slope) / totals.pairs!;
  return {
    nll: Array.from(chosen.scored.logps).reduce((sum, logp) => sum - logp, 0),
    ratio: value,
    odds,
    weights: [
      weightsOf(chosen.scored, (share * better.slope) / chosen.tokens, -1 / totals.tokens!),
      weightsOf(rejected.scored, (-share * worse.slope) / rejected.tokens),
    ],
  };
}
