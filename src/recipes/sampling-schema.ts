import { z } from "zod";
import { OBJECTIVES, type ObjectiveName } from "../training/objectives/index.js";
import { AGGREGATIONS, IMPORTANCE_SAMPLING_LEVELS, SCALE_REWARDS } from "../training/objectives/objective.js";
import { ofObjective } from "./objective-setting.js";
import { REWARDS, rewardsSchema } from "./rewards/index.js";
import { choice, count, meanings } from "./schema-parts.js";

/** The settings of objectives that learn from what the model itself answers, by the names of TRL's GRPOConfig. */
export const samplingShape = {
  num_generations: ofObjective(count(2), "numGenerations", "Completions that are sampled for each prompt."),
  num_generations_eval: ofObjective(
    count(1),
    "numGenerationsEval",
    "The same in validations.",
    "as many as in training",
  ),
  max_completion_length: ofObjective(
    count(1),
    "maxCompletionLength",
    "Tokens of a completion at most.",
    "grpo 512, distill with lmbda 128",
  ),
  temperature: ofObjective(
    z.number().positive(),
    "temperature",
    "Logits are divided by this: with grpo where completions are sampled and where they are learned from, with distill those of both models.",
  ),
  top_p: ofObjective(z.number().gt(0).max(1), "topP", "Sample from the likeliest tokens that have this probability."),
  top_k: ofObjective(
    count(0),
    "topK",
    "With grpo: sample from so many of the likeliest tokens; 0: from all. With distill and forward, at least 1: only the teacher's so many likeliest tokens are told apart, asked for once before training and kept in the run's folder.",
    "grpo 0, distill the whole distribution",
  ),
  min_p: ofObjective(z.number().min(0).max(1), "minP", "Sample from tokens with this share of the likeliest one's."),
  repetition_penalty: ofObjective(
    z.number().positive(),
    "repetitionPenalty",
    "What logits of tokens are divided by that are in the text already.",
  ),
  epsilon: ofObjective(
    z.number().min(0).lt(1),
    "epsilon",
    "How far below 1 the ratio to the model that sampled counts.",
  ),
  epsilon_high: ofObjective(z.number().min(0), "epsilonHigh", "How far above 1 it counts.", "as epsilon"),
  delta: ofObjective(
    z.number().positive(),
    "delta",
    "What the ratio is bounded by where an advantage is negative.",
    "nothing",
  ),
  importance_sampling_level: ofObjective(
    choice(IMPORTANCE_SAMPLING_LEVELS),
    "importanceSamplingLevel",
    "Whether the ratio is each token's own, or its completion's (GSPO).",
  ),
  scale_rewards: ofObjective(
    z.union([z.boolean(), choice(SCALE_REWARDS)]),
    "scaleRewards",
    "Whose standard deviation advantages are divided by: group (or true): the completions of a prompt; batch: those of a step; none (or false): they are not.",
  ),
  multi_objective_aggregation: ofObjective(
    choice(AGGREGATIONS),
    "multiObjectiveAggregation",
    "Whether rewards are added up and then scaled, or each is scaled first (GDPO).",
  ),
  num_iterations: ofObjective(count(1), "numIterations", "Steps that learn from the same completions."),
  mask_truncated_completions: ofObjective(
    z.boolean(),
    "maskTruncatedCompletions",
    "Learn nothing from completions that were cut off.",
  ),
  use_bias_correction_kl: ofObjective(
    z.boolean(),
    "useBiasCorrectionKl",
    "Multiply the KL of beta by the ratio to the model that sampled.",
  ),
  rewards: rewardsSchema
    .nullable()
    .default(null)
    .describe(
      `What grpo rewards completions for, a list of maps with name, weight (1), id (what the metrics are called) and settings. ${meanings(REWARDS)}`,
    ),
};

interface Asked {
  readonly objective: {
    readonly name: ObjectiveName;
    readonly num_generations: number | null;
    readonly lmbda: number | null;
  };
  readonly data: { readonly packing: boolean };
  readonly batch_size: number;
  readonly gradient_accumulation_steps: number;
  readonly base_offload: string;
}

/** What does not go together where completions are sampled. */
export function wrongSampling(asked: Asked): { readonly path: string[]; readonly message: string } | undefined {
  const { objective, batch_size: size, gradient_accumulation_steps: accumulation } = asked;
  const { name, num_generations: given, lmbda } = objective;
  if (OBJECTIVES[name].rows !== "prompts") return lmbda ? unknownLengths(asked, "objective.lmbda") : undefined;
  const each = given ?? OBJECTIVES.grpo.defaults.numGenerations!;
  const completions = size * accumulation;
  const next = Math.ceil(completions / each) * each;
  if (completions % each !== 0)
    return {
      path: ["batch_size"],
      message: `counts completions in ${name}: a step has batch_size x gradient_accumulation_steps = ${completions} of them, which should be a multiple of num_generations, ${each}, as ${next} is`,
    };
  return unknownLengths(asked, name);
}

/** What cannot be where `what` learns from samples. */
function unknownLengths({ data, base_offload: offload }: Asked, what: string) {
  if (data.packing)
    return {
      path: ["data", "packing"],
      message: `packs rows of known length, and what ${what} learns from is sampled; leave it out`,
    };
  if (offload !== "none")
    return {
      path: ["base_offload"],
      message: `${what} samples from the base, which has to be in memory for it; leave it out`,
    };
  return undefined;
}
