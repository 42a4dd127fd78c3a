import { UserError } from "../tensor/index.js";
import type { Details, EvalMetrics } from "../training/metrics.js";
import { COUNTS, type Figure, TEXT_FIGURES } from "./suite/figures.js";
import { scoreOf } from "./suite/score.js";

/** What stands before the figures of a suite among those of an evaluation. */
export const SUITE = "suite/";

/** The figure by which the best adapter is told. */
export interface BestMetric {
  /** Without `eval_`: `loss`, `suite/facts`. */
  readonly name: string;
  readonly better: "more" | "less";
}

/** The best evaluation so far, and how many since got no better. */
export interface BestSoFar {
  readonly bestMetric: number | null;
  readonly bestStep: number | null;
  /** Evaluations one after the other that count against the patience. */
  readonly unimproved: number;
}

export const NOTHING_YET: BestSoFar = { bestMetric: null, bestStep: null, unimproved: 0 };

/** Figures of which less is better; of others more is. */
const LESS: ReadonlySet<string> = new Set([
  "loss",
  "keep/kl",
  ...[...COUNTS, ...TEXT_FIGURES].flatMap(({ key, better }) => (better === "less" ? [`${SUITE}${key}`] : [])),
]);

/** The figure that a config goes by; undefined where nothing is evaluated that has one. */
export function bestMetric(asked: {
  readonly validation: boolean;
  readonly suite: boolean;
  readonly metricForBestModel: string | null;
  readonly greaterIsBetter: boolean | null;
}): BestMetric | undefined {
  const { validation, suite, metricForBestModel, greaterIsBetter } = asked;
  if (!validation && !suite) return undefined;
  const name = metricForBestModel?.replace(/^eval_/, "") ?? (validation ? "loss" : `${SUITE}score`);
  const usual = LESS.has(name) ? "less" : "more";
  return { name, better: greaterIsBetter === null ? usual : greaterIsBetter ? "more" : "less" };
}

/** The same for a whole config. */
export const bestMetricOf = (config: {
  readonly data: { readonly validation: unknown };
  readonly evalSuite: string | null;
  readonly metricForBestModel: string | null;
  readonly greaterIsBetter: boolean | null;
}): BestMetric | undefined =>
  bestMetric({ ...config, validation: config.data.validation !== null, suite: config.evalSuite !== null });

/** Every figure of an evaluation, by its name without `eval_`. */
export const figuresOfRow = ({ evalLoss, details = {} }: EvalMetrics): Details =>
  evalLoss === undefined ? details : { loss: evalLoss, ...details };

/** What a suite found with the adapter, as figures of an evaluation: `suite/facts` from 0 to 1, `suite/kl`, ..., `suite/score`. */
export function suiteDetails(figures: readonly Figure[]): Details {
  const values = figures.flatMap(({ key, after }) => {
    if (after === undefined) return [];
    return [[`${SUITE}${key}`, typeof after === "number" ? after : after.count / after.total] as const];
  });
  const score = scoreOf(figures);
  return { ...Object.fromEntries(values), ...(Number.isFinite(score) ? { [`${SUITE}score`]: score } : {}) };
}

/** The value of a figure among those of an evaluation. Throws UserError that names those that are there. */
export function metricValue(figures: Details, { name }: BestMetric): number {
  const value = figures[name];
  if (value !== undefined) return value;
  throw unknownMetric(name, Object.keys(figures));
}

export function unknownMetric(name: string, known: readonly string[]): UserError {
  const names = known.map((one) => `eval_${one}`).join(", ");
  return new UserError(`metric_for_best_model: the evaluations of this run have no eval_${name}; they have ${names}`, {
    code: "invalid_config",
  });
}

/** Whether one value is better than another; nothing that is not finite is. */
export function isBetter(value: number, than: number | null, better: BestMetric["better"]): boolean {
  if (!Number.isFinite(value)) return false;
  return than === null || (better === "more" ? value > than : value < than);
}

/**
 * What is best after one more evaluation, as transformers' Trainer and its EarlyStoppingCallback have it: any gain is a new best,
 * but only one of more than the threshold ends the count of those that got no better.
 */
export function afterEvaluation(
  before: BestSoFar,
  { step, value }: { readonly step: number; readonly value: number },
  { better, threshold }: { readonly better: BestMetric["better"]; readonly threshold: number },
): BestSoFar {
  const isBest = isBetter(value, before.bestMetric, better);
  const gained = isBest && (before.bestMetric === null || Math.abs(value - before.bestMetric) > threshold);
  const unimproved = gained ? 0 : before.unimproved + 1;
  return isBest ? { bestMetric: value, bestStep: step, unimproved } : { ...before, unimproved };
}
