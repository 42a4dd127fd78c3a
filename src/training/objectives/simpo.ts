import { ended } from "./ended.js";
import { logisticLoss } from "./math.js";
import type { Objective, ObjectiveKind, ObjectiveOptions, Part, Scored, Totals } from "./objective.js";
import { countPairs, pairMetrics, pairsOf, weightsOf } from "./sequences.js";

/** Simple preference optimisation (Meng et al. 2024): mean log-probabilities a margin apart, without a reference. */
export const simpo: ObjectiveKind = {
  description: "better answers likelier per token than worse ones, by a margin",
  rows: "pairs",
  usesReference: false,
  defaults: { beta: 2.5, gamma: 1.375, labelSmoothing: 0 },
  create: (options): Objective => ({
    usesReference: false,
    sequences: ended,
    count: (batch) => ({ pairs: countPairs(batch) }),
    loss: (scored, totals) => lossOf(scored, totals, options),
  }),
};

function lossOf(scored: readonly Scored[], { pairs: all }: Totals, options: ObjectiveOptions): Part {
  const { beta, gamma, labelSmoothing } = options;
  const pairs = pairsOf(scored);
  const found = pairs.map(({ chosen, rejected }) => {
    const { value, slope } = logisticLoss(beta * (chosen.mean - rejected.mean) - gamma, labelSmoothing);
    const share = (beta * slope) / all!;
    const weights = [
      weightsOf(chosen.scored, share / chosen.tokens),
      weightsOf(rejected.scored, -share / rejected.tokens),
    ];
    return { loss: value / all!, weights };
  });
  return {
    loss: found.reduce((sum, { loss }) => sum + loss, 0),
    weights: found.flatMap(({ weights }) => weights),
    metrics: pairMetrics(
      pairs,
      ({ mean }) => beta * mean,
      ({ mean }) => mean,
    ),
  };
}
