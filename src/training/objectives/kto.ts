import type { Sample } from "../../data/sample.js";
import { logistic } from "./math.js";
import { mismatched } from "./mismatched.js";
import type { Objective, ObjectiveKind, ObjectiveOptions, Part, Scored, Totals } from "./objective.js";
import { type Answer, answerOf, weightsOf } from "./sequences.js";

/** Kahneman-Tversky optimisation (Ethayarajh et al. 2024): answers that are good or bad by themselves. */
export const kto: ObjectiveKind = {
  description: "answers marked good or bad, against a reference",
  rows: "judged",
  usesReference: true,
  defaults: { beta: 0.1, lossType: "kto", desirableWeight: 1, undesirableWeight: 1 },
  lossTypes: ["kto", "apo_zero_unpaired"],
  create: (options): Objective => {
    const divergent = options.lossType === "kto";
    return {
      usesReference: true,
      ...(divergent ? { sequences: mismatched, measure: divergence } : {}),
      remarks: (samples) => remarksOn(samples, options),
      count: (batch) => ({ desirable: countOf(batch, "desirable"), undesirable: countOf(batch, "undesirable") }),
      loss: (scored, totals) => lossOf(scored, totals, options),
    };
  },
};

const countOf = (samples: readonly Sample[], side: Sample["side"]): number =>
  samples.filter((sample) => sample.side === side).length;

/** Good and bad answers should weigh 1:1 to 4:3 in all (Ethayarajh et al. 2024, section 4.2). */
function remarksOn(samples: readonly Sample[], { desirableWeight, undesirableWeight }: ObjectiveOptions): string[] {
  const [good, bad] = [countOf(samples, "desirable"), countOf(samples, "undesirable")];
  const ratio = (desirableWeight * good) / (undesirableWeight * bad);
  if (ratio >= 1 && ratio <= 4 / 3) return [];
  const weight = Number(((undesirableWeight * bad) / Math.max(1, good)).toPrecision(3));
  const counts = `${good} good and ${bad} bad answers weigh ${Number(ratio.toPrecision(3))}:1 in all`;
  if (good === 0 || bad === 0) return [`${good} good and ${bad} bad answers: kto needs both`];
  return [`${counts}; 1:1 to 4:3 is recommended, as with objective.desirable_weight ${weight}`];
}

/** The log-ratios of answers to other prompts, whose mean estimates how far the model is from the reference. */
function divergence(scored: readonly Scored[]): Totals {
  return { ratios: scored.reduce((sum, one) => sum + answerOf(one).ratio, 0), measured: scored.length };
}

function lossOf(scored: readonly Scored[], totals: Totals, options: ObjectiveOptions): Part {
  const { beta, desirableWeight, undesirableWeight } = options;
  const kl = totals.measured ? Math.max(0, totals.ratios! / totals.measured) : 0;
  const share = 1 / (totals.desirable! + totals.undesirable!);
  const answers = scored.map(answerOf);
  const found = answers.map(({ scored: own, ratio }) => {
    const isGood = own.sample.side === "desirable";
    const sign = isGood ? 1 : -1;
    const weight = share * (isGood ? desirableWeight : undesirableWeight);
    const value = logistic(sign * beta * (ratio - kl));
    return { loss: weight * (1 - value), weights: weightsOf(own, -weight * sign * beta * value * (1 - value)) };
  });
  const known: Part["metrics"] = totals.measured ? { kl: [kl * answers.length, answers.length] } : {};
  return {
    loss: found.reduce((sum, { loss }) => sum + loss, 0),
    weights: found.map(({ weights }) => weights),
    metrics: { ...metricsOf(answers, totals, beta), ...known },
  };
}

/** TRL's metrics: means over the good and the bad answers of the step, and between those of the two. */
function metricsOf(answers: readonly Answer[], totals: Totals, beta: number): Record<string, [number, number]> {
  const good = answers.filter(({ scored }) => scored.sample.side === "desirable");
  const bad = answers.filter(({ scored }) => scored.sample.side === "undesirable");
  const sum = (of: readonly Answer[], f: (answer: Answer) => number) => of.reduce((all, answer) => all + f(answer), 0);
  const reward = ({ ratio }: Answer) => beta * ratio;
  const both = totals.desirable! > 0 && totals.undesirable! > 0;
  const margin = sum(good, reward) / totals.desirable! - sum(bad, reward) / totals.undesirable!;
  return {
    "rewards/chosen": [sum(good, reward), good.length],
    "rewards/rejected": [sum(bad, reward), bad.length],
    "rewards/margins": both ? [margin, answers.length / (totals.desirable! + totals.undesirable!)] : [0, 0],
    "logps/chosen": [sum(good, ({ logp }) => logp), good.length],
    "logps/rejected": [sum(bad, ({ logp }) => logp), bad.length],
  };
}
