import { ended } from "./ended.js";
import { hingeLoss, logisticLoss, type Slope, squareLoss } from "./math.js";
import type { Objective, ObjectiveKind, ObjectiveOptions, Part, Scored, Totals } from "./objective.js";
import { type Answer, countPairs, markedTokens, pairMetrics, pairsOf, weightsOf } from "./sequences.js";

/** Losses of the difference of log-probabilities, by TRL's names; "ipo" is of means per token. */
const LOSSES = {
  sigmoid: (x, { beta, labelSmoothing }) => scaled(logisticLoss(beta * x, labelSmoothing), beta),
  hinge: (x, { beta }) => scaled(hingeLoss(beta * x), beta),
  ipo: (x, { beta }) => squareLoss(x, 1 / (2 * beta)),
} as const satisfies Record<string, (difference: number, options: ObjectiveOptions) => Slope>;

const scaled = ({ value, slope }: Slope, beta: number): Slope => ({ value, slope: beta * slope });

/** Contrastive preference optimisation (Xu et al. 2024): pairs without a reference, and cross entropy of the better answers. */
export const cpo: ObjectiveKind = {
  description: "better answers over worse ones without a reference, and their cross entropy",
  rows: "pairs",
  usesReference: false,
  defaults: { beta: 0.1, lossType: "sigmoid", labelSmoothing: 0 },
  lossTypes: Object.keys(LOSSES),
  create: (options): Objective => ({
    usesReference: false,
    sequences: ended,
    count: (batch) => ({
      pairs: countPairs(batch),
      tokens: markedTokens(batch.filter(({ side }) => side === "chosen")),
    }),
    loss: (scored, totals) => lossOf(scored, totals, options),
  }),
};

function lossOf(scored: readonly Scored[], totals: Totals, options: ObjectiveOptions): Part {
  const perToken = options.lossType === "ipo";
  const logp = (answer: Answer) => (perToken ? answer.mean : answer.logp);
  const own = (answer: Answer) => (perToken ? 1 / answer.tokens : 1);
  const pairs = pairsOf(scored);
  const found = pairs.map(({ chosen, rejected }) => {
    const loss = LOSSES[options.lossType as keyof typeof LOSSES](logp(chosen) - logp(rejected), options);
    const share = loss.slope / totals.pairs!;
    return {
      loss: loss.value / totals.pairs! - chosen.logp / totals.tokens!,
      weights: [
        weightsOf(chosen.scored, share * own(chosen) - 1 / totals.tokens!),
        weightsOf(rejected.scored, -share * own(rejected)),
      ],
    };
  });
  const nll = pairs.reduce((sum, { chosen }) => sum - chosen.logp, 0);
  const tokens = pairs.reduce((sum, { chosen }) => sum + chosen.tokens, 0);
  return {
    loss: found.reduce((sum, { loss }) => sum + loss, 0),
    weights: found.flatMap(({ weights }) => weights),
    metrics: { ...pairMetrics(pairs, (answer) => options.beta * logp(answer), logp), nll_loss: [nll, tokens] },
  };
}
