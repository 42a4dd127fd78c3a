import type { ObjectiveOptions } from "./objective.js";

/** What a reward says of each completion of a step, prompt by prompt; null: it does not say anything of this one. */
export interface Rewarded {
  readonly name: string;
  readonly weight: number;
  readonly scores: readonly (number | null)[];
}

/** What the completions of a step are worth, and what TRL tells of it. */
export interface Advantages {
  /** By completion, the weighted sum of its rewards; null where none says anything. */
  readonly rewards: readonly (number | null)[];
  /** By completion; 0 where no reward says anything. */
  readonly advantages: readonly number[];
  readonly metrics: Readonly<Record<string, number>>;
}

type Settings = Pick<ObjectiveOptions, "scaleRewards" | "multiObjectiveAggregation"> & { readonly generations: number };

/** Added to a standard deviation before it divides, as in TRL. */
const EPSILON = 1e-4;

/**
 * The advantage of each completion over the others to its prompt (Shao et al. 2024, section 4.1.2), `generations` of which stand one behind
 * the other: its reward less their mean, divided by a standard deviation (n - 1). As TRL 1.16's GRPOTrainer computes them.
 */
export function advantagesOf(rewarded: readonly Rewarded[], settings: Settings): Advantages {
  const count = rewarded[0]!.scores.length;
  const each = rewarded.map(({ scores }) => scores.map((score) => score ?? Number.NaN));
  const weights = rewarded.map(({ weight }) => weight);
  const rewards = weightedSums(each, weights, count);
  const { advantages, deviations } =
    settings.multiObjectiveAggregation === "normalize_then_sum"
      ? normalizedThenSummed(each, weights, rewards, settings)
      : summedThenNormalized(rewards, settings);
  const alike = deviations.filter((deviation) => Math.abs(deviation) <= 1e-8).length;
  const own = rewarded.flatMap(({ name }, i) => [
    [`rewards/${name}/mean`, meanOf(each[i]!)],
    [`rewards/${name}/std`, deviationOf(each[i]!)],
  ]);
  const all: Record<string, number> = {
    ...Object.fromEntries(own as [string, number][]),
    reward: meanOf(rewards),
    reward_std: deviationOf(rewards),
    frac_reward_zero_std: alike / count,
  };
  return {
    rewards: rewards.map((reward) => (Number.isNaN(reward) ? null : reward)),
    advantages: advantages.map((advantage) => (Number.isNaN(advantage) ? 0 : advantage)),
    metrics: Object.fromEntries(Object.entries(all).filter(([, value]) => !Number.isNaN(value))),
  };
}

function summedThenNormalized(rewards: readonly number[], { generations, scaleRewards }: Settings) {
  const byBatch = scaleRewards === "batch";
  const wholeStep = deviationOf(rewards);
  const groups = inGroups(rewards, generations);
  const deviations = groups.flatMap((group) => group.map(() => (byBatch ? wholeStep : deviationOf(group))));
  const away = groups.flatMap((group) => group.map((reward) => reward - meanOf(group)));
  const isScaled = scaleRewards !== "none" && scaleRewards !== false;
  return { deviations, advantages: away.map((x, i) => (isScaled ? x / (deviations[i]! + EPSILON) : x)) };
}

/** Each reward scaled by itself among the completions of a prompt, then their sum over the step (GDPO, arXiv 2601.05242). */
function normalizedThenSummed(
  each: readonly (readonly number[])[],
  weights: readonly number[],
  rewards: readonly number[],
  { generations }: Settings,
) {
  const scaled = each.map((scores) =>
    inGroups(scores, generations).flatMap((group) => {
      const [mean, deviation] = [meanOf(group), deviationOf(group)];
      return group.map((score) => (score - mean) / (deviation + EPSILON));
    }),
  );
  const sums = weightedSums(scaled, weights, rewards.length).map((sum, i) =>
    Number.isNaN(rewards[i]!) ? Number.NaN : sum,
  );
  const [mean, deviation] = [meanOf(sums), deviationOf(sums)];
  return { deviations: sums.map(() => deviation), advantages: sums.map((sum) => (sum - mean) / (deviation + EPSILON)) };
}

/** Weighted sums of what is there; NaN where nothing is. */
function weightedSums(each: readonly (readonly number[])[], weights: readonly number[], count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const own = each.flatMap((scores, k) => (Number.isNaN(scores[i]!) ? [] : [scores[i]! * weights[k]!]));
    return own.length === 0 ? Number.NaN : own.reduce((sum, x) => sum + x, 0);
  });
}

const inGroups = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: items.length / size }, (_, i) => items.slice(i * size, (i + 1) * size));

/** The mean of what is a number; NaN where nothing is. */
function meanOf(values: readonly number[]): number {
  const there = values.filter((value) => !Number.isNaN(value));
  return there.reduce((sum, value) => sum + value, 0) / there.length;
}

/** The standard deviation (n - 1) of what is a number; NaN where fewer than two are. */
function deviationOf(values: readonly number[]): number {
  const there = values.filter((value) => !Number.isNaN(value));
  if (there.length < 2) return Number.NaN;
  const mean = meanOf(there);
  return Math.sqrt(there.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (there.length - 1));
}
