import { UserError } from "../../tensor/index.js";
import { CHOSEN_TOKENS, DPO_LOSSES, DPO_SORTED_LOSSES, type PairLoss, pairLosses } from "./dpo-losses.js";
import type { Objective, ObjectiveKind, ObjectiveOptions, Part, Scored, Totals } from "./objective.js";
import { countPairs, markedTokens, type Pair, pairMetrics, pairsOf, weightsOf } from "./sequences.js";

/** Direct preference optimisation (Rafailov et al. 2023) and its relatives: pairs against a reference. */
export const dpo: ObjectiveKind = {
  description: "better answers over worse ones, against a reference",
  rows: "pairs",
  usesReference: true,
  defaults: { beta: 0.1, lossType: ["sigmoid"], lossWeights: [], labelSmoothing: 0, discopopTau: 0.05 },
  lossTypes: [...Object.keys(DPO_LOSSES), ...Object.keys(DPO_SORTED_LOSSES), CHOSEN_TOKENS],
  wholeSteps: Object.keys(DPO_SORTED_LOSSES),
  create: (options): Objective => {
    const losses = weighted(options);
    return {
      usesReference: true,
      wholeSteps: losses.some(([type]) => type in DPO_SORTED_LOSSES),
      count: (batch) => ({
        pairs: countPairs(batch),
        chosenTokens: markedTokens(batch.filter(({ side }) => side === "chosen")),
      }),
      loss: (scored, totals) => lossOf(scored, totals, losses, options),
    };
  },
};

type Weighted = readonly (readonly [type: string, weight: number])[];

/** The loss types with their weights. Throws UserError for values that do not go together. */
function weighted({ lossType, lossWeights, labelSmoothing }: ObjectiveOptions): Weighted {
  const types = [lossType].flat();
  if (lossWeights.length > 0 && lossWeights.length !== types.length) {
    throw new UserError(
      `objective.loss_weights: ${lossWeights.length} weights for ${types.length} loss types (${types.join(", ")}); give one for each, or none`,
    );
  }
  if (types.includes("exo_pair") && labelSmoothing === 0)
    throw new UserError("objective.label_smoothing: exo_pair needs one above 0, such as 0.001");
  return types.map((type, i) => [type, lossWeights[i] ?? 1]);
}

function lossOf(scored: readonly Scored[], totals: Totals, losses: Weighted, options: ObjectiveOptions): Part {
  const pairs = pairsOf(scored);
  const found = pairs.map(() => ({ loss: 0, chosen: 0, rejected: 0 }));
  for (const [type, weight] of losses) {
    for (const [i, own] of sharesOf(type, pairs, totals, options).entries()) {
      found[i]!.loss += weight * own.value;
      found[i]!.chosen += weight * own.chosen;
      found[i]!.rejected += weight * own.rejected;
    }
  }
  return {
    loss: found.reduce((sum, { loss }) => sum + loss, 0),
    weights: pairs.flatMap(({ chosen, rejected }, i) => [
      weightsOf(chosen.scored, found[i]!.chosen),
      weightsOf(rejected.scored, found[i]!.rejected),
    ]),
    metrics: pairMetrics(pairs, ({ ratio }) => options.beta * ratio),
  };
}

/** The shares of pairs in the loss of the step by one of its types, with their derivatives. */
function sharesOf(type: string, pairs: readonly Pair[], totals: Totals, options: ObjectiveOptions): PairLoss[] {
  if (type === CHOSEN_TOKENS) {
    const share = 1 / totals.chosenTokens!;
    return pairs.map(({ chosen }) => ({ value: -chosen.logp * share, chosen: -share, rejected: 0 }));
  }
  const share = 1 / totals.pairs!;
  return pairLosses(type, pairs, options).map(({ value, chosen, rejected }) => ({
    value: share * value,
    chosen: share * chosen,
    rejected: share * rejected,
  }));
}
