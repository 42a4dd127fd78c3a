import type { Objective, ObjectiveKind } from "./objective.js";
import { markedTokens } from "./sequences.js";

/** Cross entropy: the mean over all targets of a step. */
export const sft: ObjectiveKind = {
  description: "cross entropy of answers",
  rows: "texts",
  usesReference: false,
  defaults: {},
  create: (): Objective => ({
    usesReference: false,
    count: (batch) => ({ tokens: markedTokens(batch) }),
    share: ({ tokens }) => 1 / tokens!,
    loss: (scored, { tokens }) => {
      const weights = scored.map(({ logps }) => new Float64Array(logps.length).fill(-1 / tokens!));
      const sum = scored.reduce((all, { logps }) => Array.from(logps).reduce((s, logp) => s - logp, all), 0);
      return { loss: sum / tokens!, weights, metrics: {} };
    },
  }),
};
