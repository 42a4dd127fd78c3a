import type { MicroBatch, Sample } from "../data/sample.js";
import {
  isTaught,
  type Objective,
  type Part,
  type Scored,
  type ScoringObjective,
  type Totals,
} from "./objectives/objective.js";
import type { ScoringModel } from "./scorer.js";

/** What the reference says of answers: the sum of its log-probabilities. */
export type References = ReadonlyMap<Sample, number>;

/** An objective over rows: its loss, and the means of its metrics. */
export interface Validation {
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** A micro-batch without the sequences that are only measured, and those alone. */
export const learned = (batch: MicroBatch): MicroBatch => batch.filter(({ side }) => side !== "mismatched");
const measured = (batch: MicroBatch): MicroBatch => batch.filter(({ side }) => side === "mismatched");

/** Sequences with what the model and the reference say of them. */
export function scoredOf(
  batch: MicroBatch,
  logps: readonly ArrayLike<number>[],
  references: References,
  entropies?: readonly ArrayLike<number>[],
): Scored[] {
  return batch.map((sample, i) => ({
    sample,
    logps: logps[i]!,
    reference: references.get(sample) ?? 0,
    ...(entropies ? { entropies: entropies[i]! } : {}),
  }));
}

/** Totals added up by name. */
export function added(parts: readonly Totals[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const part of parts) for (const [name, x] of Object.entries(part)) sums[name] = (sums[name] ?? 0) + x;
  return sums;
}

/** What is measured on a micro-batch before anything is learned from it. */
export async function measure(
  model: Pick<ScoringModel, "score">,
  objective: Objective,
  batch: MicroBatch,
  references: References,
): Promise<Totals> {
  const only = measured(batch);
  if (isTaught(objective) || !objective.measure || only.length === 0) return {};
  return objective.measure(scoredOf(only, await model.score(only), references));
}

/** Loss, metrics and their counts, added up over micro-batches. */
export function sumsOf(parts: readonly Omit<Part, "weights">[]): Record<"loss" | "sums" | "counts", Totals> {
  return {
    loss: added(parts.map(({ loss }) => ({ loss }))),
    sums: added(parts.map(({ metrics }) => mapped(metrics, ([sum]) => sum))),
    counts: added(parts.map(({ metrics }) => mapped(metrics, ([, count]) => count))),
  };
}

/** Means of what there is anything of. */
export function means(sums: Totals, counts: Totals): Record<string, number> {
  const known = Object.keys(sums).filter((name) => counts[name]! > 0);
  return Object.fromEntries(known.map((name) => [name, sums[name]! / counts[name]!]));
}

const mapped = <A, B>(record: Readonly<Record<string, A>>, f: (a: A) => B): Record<string, B> =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, f(value)]));

/** The objective over rows that are not trained on, as over one step. */
export async function validate(
  model: ScoringModel,
  objective: ScoringObjective,
  batches: readonly MicroBatch[],
  references: References = new Map(),
): Promise<Validation> {
  if (objective.share) return { loss: await meanLoss(model, batches), metrics: {} };
  const totals = added([
    ...batches.map((batch) => objective.count(learned(batch))),
    ...(await inTurn(batches, (batch) => measure(model, objective, batch, references))),
  ]);
  const part = async (batch: MicroBatch) => {
    const own = learned(batch);
    return objective.loss(scoredOf(own, await model.score(own), references), totals);
  };
  const { loss, sums, counts } = sumsOf(await inTurn(batches, part));
  return { loss: loss.loss!, metrics: means(sums, counts) };
}

/** Mean cross entropy per marked token, in nats. */
export async function meanLoss(model: ScoringModel, batches: readonly MicroBatch[]): Promise<number> {
  const parts = await inTurn(batches, (batch) => model.evaluate(batch));
  const sum = (of: (part: (typeof parts)[number]) => number) => parts.reduce((all, part) => all + of(part), 0);
  return sum((part) => part.lossSum) / sum((part) => part.supervisedTokens);
}

async function inTurn<A, B>(items: readonly A[], f: (item: A) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  for (const item of items) results.push(await f(item));
  return results;
}
