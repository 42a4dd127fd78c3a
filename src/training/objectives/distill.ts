import type { DistillSettings } from "../../models/index.js";
import { UserError } from "../../tensor/index.js";
import type { Objective, ObjectiveKind, ObjectiveOptions } from "./objective.js";
import { markedTokens } from "./sequences.js";

/**
 * Knowledge distillation (Hinton et al. 2015; Agarwal et al. 2024, GKD): the model's distribution at every target comes near to a
 * teacher's. The teacher is another base, or the base itself with more in its prompt (context distillation, Snell et al. 2022).
 */
export const distill: ObjectiveKind = {
  description: "the distributions of a teacher: another base, or the base with another prompt",
  rows: "texts",
  usesReference: false,
  usesTeacher: true,
  defaults: { divergence: "forward", temperature: 1 },
  optional: ["beta", "topK", "lmbda", "maxCompletionLength"],
  create: (options): Objective => ({
    usesReference: false,
    count: (batch) => ({ tokens: markedTokens(batch) }),
    lesson: lessonOf(options),
  }),
};

/** Throws UserError for values that do not go together. */
function lessonOf(options: Partial<ObjectiveOptions>): DistillSettings {
  const { divergence, temperature, topK, beta, lmbda = 0, maxCompletionLength } = options;
  if (topK !== undefined && lmbda > 0)
    throw new UserError(
      "objective.top_k: has the teacher asked before training, and with objective.lmbda above 0 it is asked about answers that are not there yet; leave one of the two out",
    );
  if (maxCompletionLength !== undefined && lmbda === 0)
    throw new UserError(
      "objective.max_completion_length: is for answers of the model's own, and without objective.lmbda above 0 there are none",
    );
  if (beta !== undefined && divergence !== "jsd")
    throw new UserError(
      `objective.beta: is the teacher's part in the mixture of jsd, and objective.divergence is ${divergence}; leave it out (TRL's beta 0 is forward, 1 is reverse)`,
    );
  if (beta !== undefined && beta >= 1)
    throw new UserError(
      "objective.beta: expected a number between 0 and 1; what TRL means by 1 is objective.divergence reverse",
    );
  if (topK !== undefined && divergence !== "forward")
    throw new UserError(
      `objective.top_k: goes with objective.divergence forward; ${divergence} asks about what the model finds likely, too, which need not be among the teacher's likeliest tokens`,
    );
  return {
    ...(divergence ? { divergence } : {}),
    ...(temperature ? { temperature } : {}),
    ...(beta === undefined ? {} : { beta }),
    ...(topK === undefined ? {} : { topK }),
  };
}
