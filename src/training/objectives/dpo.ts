import { UserError } from "../../tensor/index.js";
import { CHOSEN_TOKENS, DPO_LOSSES } from "./dpo-losses.js";
import type { Objective, ObjectiveKind, ObjectiveOptions, Part, Scored, Totals } from "./objective.js";
import { countPairs, markedTokens, type Pair, pairMetrics, pairsOf, weightsOf } from "./sequences.js";

/** Direct preference optimisation (Rafailov et al. 2023) and its relatives: pairs against a reference. */
export const dpo: ObjectiveKind = {
  description: "better answers over worse ones, against a reference",
  rows: "pairs",
  usesReference: true,
  defaults: { beta: 0.1, lossType: ["sigmoid"], lossWeights: [], labelSmoothing: 0 },
  lossTypes: [...Object.keys(DPO_LOSSES), CHOSEN_TOKENS],
  create: (options): Objective => {
    const losses = weighted(options);
    return {
      usesReference: true,
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
  const found = pairs.map((pair) => pairLoss(pair, totals, losses, options));
  return {
    loss: found.reduce((sum, { loss }) => sum + loss, 0),
    weights: found.flatMap(({ weights }) => weights),
    metrics: pairMetrics(pairs, ({ ratio }) => options.beta * ratio),
  };
}

/** A pair's share in the loss of the step, and the weights of its tokens. */
function pairLoss({ chosen, rejected }: Pair, totals: Totals, losses: Weighted, options: ObjectiveOptions) {
  const sums = { loss: 0, chosen: 0, rejected: 0 };
  for (const [type, weight] of losses) {
    if (type === CHOSEN_TOKENS) {
      sums.loss -= (weight * chosen.logp) / totals.chosenTokens!;
      sums.chosen -= weight / totals.chosenTokens!;
      continue;
    }
    const own = DPO_LOSSES[type as keyof typeof DPO_LOSSES](chosen, rejected, options);
    const share = weight / totals.pairs!;
    sums.loss += share * own.value;
    sums.chosen += share * own.chosen;
    sums.rejected += share * own.rejected;
  }
  return {
    loss: sums.loss,
    weights: [weightsOf(chosen.scored, sums.chosen), weightsOf(rejected.scored, sums.rejected)],
  };
}
