import type { Sample } from "../../data/sample.js";
import type { Objective, ObjectiveKind, ObjectiveOptions, Part, Scored, Totals } from "./objective.js";
import { markedTokens } from "./sequences.js";

/** What the mean of tokens' losses is taken over: a token's share in the loss of a step. */
const SHARES: Readonly<Record<string, (of: { tokens: number; totals: Totals; longest: number }) => number>> = {
  dapo: ({ totals }) => 1 / Math.max(1, totals.tokens!),
  grpo: ({ tokens, totals }) => 1 / (totals.sequences! * Math.max(1, tokens)),
  dr_grpo: ({ totals, longest }) => 1 / (totals.sequences! * longest),
  bnpo: ({ totals }) => 1 / Math.max(1, totals.tokens!),
};

/**
 * Group relative policy optimisation (Shao et al. 2024) on completions that were sampled, each with its advantage (`rollout`), as TRL 1.16's
 * GRPOTrainer computes it: clipped ratios to the model that sampled, and KL to a reference where `beta` is above 0.
 */
export const grpo: ObjectiveKind = {
  description: "the model's own completions by their rewards, against one another",
  rows: "prompts",
  usesReference: true,
  defaults: {
    beta: 0,
    lossType: "dapo",
    numGenerations: 8,
    numGenerationsEval: null,
    maxCompletionLength: 512,
    temperature: 1,
    topP: 1,
    topK: 0,
    minP: 0,
    repetitionPenalty: 1,
    epsilon: 0.2,
    epsilonHigh: null,
    delta: null,
    importanceSamplingLevel: "token",
    scaleRewards: "group",
    multiObjectiveAggregation: "sum_then_normalize",
    numIterations: 1,
    maskTruncatedCompletions: false,
    useBiasCorrectionKl: true,
    rewards: [],
  },
  lossTypes: Object.keys(SHARES),
  create: (options): Objective => ({
    usesReference: false, // what it says is asked for every completion anew, token by token
    count: (batch) => ({ tokens: markedTokens(batch.filter(isLearned)), sequences: batch.length }),
    usesEntropies: true,
    loss: (scored, totals) => lossOf(scored, totals, options),
  }),
};

const isLearned = ({ rollout }: Sample): boolean => !rollout?.masked;

function lossOf(scored: readonly Scored[], totals: Totals, options: ObjectiveOptions): Part {
  const found = scored.map((one) => completionLoss(one, totals, options));
  const metrics: Record<string, readonly [number, number]> = {};
  for (const { metrics: own } of found) {
    for (const [name, [sum, count]] of Object.entries(own)) {
      const [sums, counts] = metrics[name] ?? [0, 0];
      metrics[name] = [sums + sum, counts + count];
    }
  }
  return {
    loss: found.reduce((sum, { loss }) => sum + loss, 0),
    weights: found.map(({ weights }) => weights),
    metrics,
    extremes: {
      least: { "clip_ratio/low_min": Math.min(...sharesOf(found, "clip_ratio/low_mean")) },
      most: { "clip_ratio/high_max": Math.max(...sharesOf(found, "clip_ratio/high_mean")) },
    },
  };
}

/** Of each completion that says anything of it, the mean of a metric. */
const sharesOf = (found: readonly Pick<Part, "metrics">[], name: string): number[] =>
  found.flatMap(({ metrics }) => (metrics[name]?.[1] ? [metrics[name][0] / metrics[name][1]] : []));

/** A completion's share in the loss of the step, with the derivatives by its tokens' log-probabilities. */
function completionLoss({ sample, logps, entropies = [] }: Scored, totals: Totals, options: ObjectiveOptions) {
  const n = logps.length;
  const weights = new Float64Array(n);
  const { advantage, oldLogps = logps, referenceLogps } = sample.rollout!;
  const bySequence = options.importanceSamplingLevel === "sequence";
  const learned = isLearned(sample);
  if (!learned) return { loss: 0, weights, metrics: clipMetrics(bySequence ? [[false, false]] : []) };
  const share = SHARES[options.lossType as string]!({ tokens: n, totals, longest: options.maxCompletionLength });
  const logRatios = Array.from(logps, (logp, t) => logp - oldLogps[t]!);
  const mean = logRatios.reduce((sum, x) => sum + x, 0) / n;
  const { beta, useBiasCorrectionKl: corrected } = options;
  const clipped: (readonly [low: boolean, high: boolean])[] = [];
  let [loss, kl, byMean] = [0, 0, 0];
  for (let t = 0; t < n; t++) {
    const ratio = Math.exp(bySequence ? mean : logRatios[t]!);
    const policy = clippedLoss(ratio, advantage, options);
    if (t === 0 || !bySequence) clipped.push([policy.low, policy.high]);
    loss += share * policy.value;
    let byRatio = policy.slope;
    if (beta > 0) {
      const away = referenceLogps![t]! - logps[t]!;
      const own = { value: Math.exp(away) - away - 1, slope: 1 - Math.exp(away) }; // Schulman's k3
      const factor = corrected ? ratio : 1;
      loss += share * beta * factor * own.value;
      kl += factor * own.value;
      weights[t]! += share * beta * factor * own.slope;
      if (corrected) byRatio += beta * ratio * own.value;
    }
    if (bySequence) byMean += share * byRatio;
    else weights[t]! += share * byRatio;
  }
  if (bySequence) for (let t = 0; t < n; t++) weights[t]! += byMean / n;
  const means = { ...(beta > 0 ? { kl: [kl, n] as const } : {}), ...entropyMetric(entropies) };
  return { loss, weights, metrics: { ...means, ...clipMetrics(clipped) } };
}

/** The entropies of a completion's tokens, where they are known. */
const entropyMetric = (entropies: ArrayLike<number>): Part["metrics"] =>
  entropies.length > 0 ? { entropy: [Array.from(entropies).reduce((sum, x) => sum + x, 0), entropies.length] } : {};

/** -min(ratio A, clipped ratio A) with its derivative by the log of the ratio, and whether it is clipped. */
function clippedLoss(ratio: number, advantage: number, { epsilon, epsilonHigh, delta }: ObjectiveOptions) {
  const [least, most] = [1 - epsilon, 1 + (epsilonHigh ?? epsilon)];
  const bounded = delta === null ? ratio : Math.min(ratio, delta);
  const [free, held] = [bounded * advantage, Math.min(Math.max(ratio, least), most) * advantage];
  const flows = free <= held ? bounded === ratio : ratio >= least && ratio <= most;
  return {
    value: -Math.min(free, held),
    slope: flows ? -ratio * advantage : 0,
    low: ratio < least && advantage < 0,
    high: bounded > most && advantage > 0,
  };
}

/** TRL's shares of what was clipped: each token's, or each completion's. */
function clipMetrics(clipped: readonly (readonly [low: boolean, high: boolean])[]) {
  const of = (is: (one: readonly [boolean, boolean]) => boolean) =>
    [clipped.filter(is).length, clipped.length] as const;
  return {
    "clip_ratio/low_mean": of(([low]) => low),
    "clip_ratio/high_mean": of(([, high]) => high),
    "clip_ratio/region_mean": of(([low, high]) => low || high),
  };
}
