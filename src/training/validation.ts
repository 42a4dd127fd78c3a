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

/** Loss, metrics and their counts, added up. */
type Sums = Record<"loss" | "sums" | "counts", Totals>;

/** The same over micro-batches. */
export function sumsOf(parts: readonly Omit<Part, "weights">[]): Sums {
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

/** Rows that several processes look at, each at a part of the micro-batches. */
export interface Shared {
  readonly all: readonly MicroBatch[];
  readonly own: readonly MicroBatch[];
  /** What every process found, in their order. */
  readonly gather: <T>(found: T) => Promise<T[]>;
}

/** The objective over rows that are not trained on, as over one step. */
export async function validate(
  model: ScoringModel,
  objective: ScoringObjective,
  { all, own, gather }: Shared,
  references: References = new Map(),
): Promise<Validation> {
  if (objective.share) return { loss: meanOf(added(await gather(await lossSums(model, own)))), metrics: {} };
  const measured = await inTurn(own, (batch) => measure(model, objective, batch, references));
  const totals = added([
    ...all.map((batch) => objective.count(learned(batch))),
    ...(objective.measure ? await gather(added(measured)) : []),
  ]);
  const part = async (batch: MicroBatch) => {
    const answers = learned(batch);
    return objective.loss(scoredOf(answers, await model.score(answers), references), totals);
  };
  const { loss, sums, counts } = joined(await gather(sumsOf(await inTurn(own, part))));
  return { loss: loss.loss!, metrics: means(sums, counts) };
}

/** The sums of several processes, added up. */
export function joined(parts: readonly Sums[]): Sums {
  const all = (name: keyof Sums) => added(parts.map((part) => part[name]));
  return { loss: all("loss"), sums: all("sums"), counts: all("counts") };
}

/** The smallest and largest of what micro-batches have, by name; what is not finite is none. */
export function extremesOf(all: readonly NonNullable<Part["extremes"]>[]): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [end, pick] of [
    ["least", Math.min],
    ["most", Math.max],
  ] as const) {
    for (const name of new Set(all.flatMap((own) => Object.keys(own[end])))) {
      const values = all.flatMap((own) => own[end][name] ?? []).filter(Number.isFinite);
      if (values.length > 0) found[name] = pick(...values);
    }
  }
  return found;
}

/** Mean cross entropy per marked token, in nats. */
export async function meanLoss(model: ScoringModel, batches: readonly MicroBatch[]): Promise<number> {
  return meanOf(await lossSums(model, batches));
}

const lossSums = async (model: ScoringModel, batches: readonly MicroBatch[]): Promise<Totals> =>
  added(await inTurn(batches, async (batch) => ({ ...(await model.evaluate(batch)) })));

const meanOf = ({ lossSum, supervisedTokens }: Totals): number => lossSum! / supervisedTokens!;

async function inTurn<A, B>(items: readonly A[], f: (item: A) => Promise<B>): Promise<B[]> {
  const results: B[] = [];
  for (const item of items) results.push(await f(item));
  return results;
}
