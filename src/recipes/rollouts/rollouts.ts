import { MARKS, type MicroBatch, type Sample } from "../../data/sample.js";
import type { Files } from "../../formats/files.js";
import { UserError } from "../../tensor/index.js";
import type { Details } from "../../training/metrics.js";
import { type Advantages, advantagesOf, type Rewarded } from "../../training/objectives/grpo-advantages.js";
import type { ObjectiveOptions } from "../../training/objectives/objective.js";
import type { ScoringModel } from "../../training/scorer.js";
import type { Completion, Reward } from "../rewards/reward.js";
import { type CompletionLine, readCompletions, removeCompletions, writeCompletions } from "./completions-file.js";
import type { Drawn, Sampler } from "./sampler.js";

/** What a step learns from, made of its rows, and what there is to tell of it. */
export interface Learned {
  readonly microBatches: readonly MicroBatch[];
  readonly metrics: Details;
}

export interface RolloutOptions {
  readonly objective: ObjectiveOptions;
  readonly rewards: readonly Required<Reward>[];
  readonly sampler: Pick<Sampler, "draw">;
  /** The model that is trained, to be asked what it says of tokens. */
  readonly model: Pick<ScoringModel, "score">;
  /** What it is held to, where `beta` is above 0. */
  readonly reference?: Pick<ScoringModel, "score"> | undefined;
  /** The text of a completion's tokens, without the one that ended it. */
  readonly textOf: (prompt: Sample, drawn: Drawn) => string;
  /** Completions in a micro-batch. */
  readonly batchSize: number;
  /** Prompts answered at the same time in a validation. */
  readonly promptsAtOnce: number;
  readonly validation: readonly Sample[];
  readonly files: Files;
  /** The run's. */
  readonly folder: string;
}

/** Completions of prompts with what each reward says of them. */
interface Scored {
  readonly prompts: readonly Sample[];
  readonly drawn: readonly Drawn[];
  readonly rewarded: readonly Rewarded[];
  readonly found: Advantages;
}

/**
 * Turns the prompts of a step into completions with advantages: sampled by the model as it is, rewarded, and kept in the run folder, from
 * where a resumed run takes them, so that it goes on with the same draws and the same rewards.
 */
export class Rollouts {
  private readonly options: RolloutOptions;
  /** Completions that are learned from in several steps, and the first of these. */
  private current: { readonly begun: number; readonly microBatches: readonly MicroBatch[] } | undefined;

  constructor(options: RolloutOptions) {
    this.options = options;
  }

  /** A run begins: what is left of an earlier one that never came to a checkpoint goes. */
  begin(): Promise<void> {
    return removeCompletions(this.options.files, this.options.folder);
  }

  /**
   * What step `step`, counted from 0, learns from. Throws UserError where a reward fails, or completions that were begun to be learned
   * from are gone.
   */
  async learn(rows: readonly MicroBatch[], step: number): Promise<Learned> {
    const begun = step - (step % this.options.objective.numIterations);
    if (this.current?.begun === begun) return { microBatches: this.current.microBatches, metrics: {} };
    const { microBatches, metrics } = await this.roll(rows.flat(), begun, step > begun);
    this.current = { begun, microBatches };
    return { microBatches, metrics: step > begun ? {} : metrics };
  }

  private async roll(prompts: readonly Sample[], begun: number, isAgain: boolean): Promise<Learned> {
    const { files, folder, batchSize, model, reference } = this.options;
    const { numGenerations, numIterations } = this.options.objective;
    const kept = await readCompletions(files, folder, begun + 1);
    const known = kept && this.fits(kept, prompts) ? kept : undefined;
    if (isAgain && !known)
      throw new UserError(
        `${folder}: the completions of step ${begun + 1}, which the next step learns from again, are gone; resume from an earlier checkpoint`,
        { code: "not_found" },
      );
    const drawn = known?.map(drawnOf) ?? (await this.options.sampler.draw(prompts, numGenerations, "step", begun));
    const rewarded = known ? this.rewardedBy(known) : await this.reward(prompts, drawn, numGenerations);
    const scored = this.judge(prompts, drawn, rewarded, numGenerations);
    const samples = this.samplesOf(scored, numGenerations);
    const oldLogps = numIterations > 1 ? (keptLogps(known) ?? (await scoresOf(model, samples, batchSize))) : undefined;
    const referenceLogps = reference && (await scoresOf(reference, samples, batchSize));
    const learned = samples.map((sample, i): Sample => {
      const [old, said] = [oldLogps?.[i], referenceLogps?.[i]];
      const more = { ...(old ? { oldLogps: old } : {}), ...(said ? { referenceLogps: said } : {}) };
      return { ...sample, rollout: { ...sample.rollout!, ...more } };
    });
    if (!known) await writeCompletions(files, folder, "completions", this.linesOf(scored, begun + 1, oldLogps));
    return { microBatches: inBatches(learned, batchSize), metrics: { ...scored.found.metrics, ...lengthsOf(drawn) } };
  }

  /** What the completions of held-out prompts are worth, drawn alike after every step that they are sampled after. */
  async validate(step: number): Promise<Details> {
    const { objective, validation, promptsAtOnce, sampler, files, folder } = this.options;
    const generations = objective.numGenerationsEval ?? objective.numGenerations;
    const all: Drawn[] = [];
    const scores = this.options.rewards.map((): (number | null)[] => []);
    for (let at = 0; at < validation.length; at += promptsAtOnce) {
      const prompts = validation.slice(at, at + promptsAtOnce);
      const drawn = await sampler.draw(prompts, generations, "validation", at);
      for (const [i, { scores: own }] of (await this.reward(prompts, drawn, generations)).entries())
        scores[i]!.push(...own);
      all.push(...drawn);
    }
    const rewarded = this.options.rewards.map(({ name, weight }, i) => ({ name, weight, scores: scores[i]! }));
    const scored = this.judge(validation, all, rewarded, generations);
    await writeCompletions(files, folder, "eval", this.linesOf(scored, step, undefined));
    return { ...scored.found.metrics, ...lengthsOf(all) };
  }

  private judge(
    prompts: readonly Sample[],
    drawn: readonly Drawn[],
    rewarded: readonly Rewarded[],
    generations: number,
  ): Scored {
    return { prompts, drawn, rewarded, found: advantagesOf(rewarded, { ...this.options.objective, generations }) };
  }

  /** Asks every reward about every completion. Throws UserError for one that fails, or gives other than a number for each. */
  private async reward(prompts: readonly Sample[], drawn: readonly Drawn[], generations: number): Promise<Rewarded[]> {
    const { textOf, rewards } = this.options;
    const completions = drawn.map((one, i): Completion => {
      const sample = prompts[Math.floor(i / generations)]!;
      const { prompt, columns } = sample.prompt!;
      return { prompt, columns, text: textOf(sample, one), tokens: one.ids.length, ended: one.ended };
    });
    const found: Rewarded[] = [];
    for (const { name, weight, score } of rewards)
      found.push({ name, weight, scores: checked(name, await scoredBy(name, score, completions), completions) });
    return found;
  }

  /** The samples that are learned from, without what the model and the reference say of them. */
  private samplesOf({ prompts, drawn, found }: Scored, generations: number): Sample[] {
    const { maskTruncatedCompletions } = this.options.objective;
    return drawn.map(({ ids, ended }, i) => {
      const prompt = prompts[Math.floor(i / generations)]!;
      const all = Int32Array.of(...prompt.ids, ...ids);
      const supervised = new Uint8Array(all.length).fill(MARKS.target, prompt.ids.length);
      const masked = maskTruncatedCompletions && !ended;
      return { index: prompt.index, ids: all, supervised, rollout: { advantage: found.advantages[i]!, masked } };
    });
  }

  private linesOf(
    { prompts, drawn, rewarded, found }: Scored,
    step: number,
    oldLogps: readonly ArrayLike<number>[] | undefined,
  ): CompletionLine[] {
    const generations = drawn.length / prompts.length;
    return drawn.map((one, i) => {
      const prompt = prompts[Math.floor(i / generations)]!;
      return {
        step,
        row: prompt.index,
        prompt: prompt.prompt!.prompt,
        completion: this.options.textOf(prompt, one),
        rewards: Object.fromEntries(rewarded.map(({ name, scores }) => [name, scores[i]!])),
        reward: found.rewards[i]!,
        advantage: found.advantages[i]!,
        ended: one.ended,
        completion_ids: [...one.ids],
        ...(oldLogps ? { old_logps: Array.from(oldLogps[i]!) } : {}),
      };
    });
  }

  /** Whether kept completions are those of these prompts, with what these rewards say. */
  private fits(lines: readonly CompletionLine[], prompts: readonly Sample[]): boolean {
    const { numGenerations } = this.options.objective;
    const names = this.options.rewards.map(({ name }) => name).join();
    const isOf = (line: CompletionLine, i: number) =>
      line.row === prompts[Math.floor(i / numGenerations)]?.index && Object.keys(line.rewards).join() === names;
    return lines.length === prompts.length * numGenerations && lines.every(isOf);
  }

  private rewardedBy(lines: readonly CompletionLine[]): Rewarded[] {
    return this.options.rewards.map(({ name, weight }) => ({
      name,
      weight,
      scores: lines.map(({ rewards }) => rewards[name]!),
    }));
  }
}

/** What was said of kept completions when they were sampled. */
function keptLogps(lines: readonly CompletionLine[] | undefined): (readonly number[])[] | undefined {
  const found = lines?.flatMap(({ old_logps: logps }) => (logps ? [logps] : []));
  return found && found.length === lines!.length ? found : undefined;
}

const drawnOf = ({ completion_ids: ids, ended }: CompletionLine): Drawn => ({ ids, ended });

const inBatches = (samples: readonly Sample[], size: number): MicroBatch[] =>
  Array.from({ length: Math.ceil(samples.length / size) }, (_, i) => samples.slice(i * size, (i + 1) * size));

/** By sample, the log-probabilities of its tokens, without dropout. */
async function scoresOf(
  model: Pick<ScoringModel, "score">,
  samples: readonly Sample[],
  batchSize: number,
): Promise<ArrayLike<number>[]> {
  const found: ArrayLike<number>[] = [];
  for (const batch of inBatches(samples, batchSize)) found.push(...(await model.score(batch)));
  return found;
}

async function scoredBy(name: string, score: Reward["score"], completions: readonly Completion[]): Promise<unknown> {
  try {
    return await score(completions);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`reward ${name}: ${(error as Error).message}`, { cause: error, code: "reward_failed" });
  }
}

function checked(name: string, scores: unknown, completions: readonly Completion[]): (number | null)[] {
  const fault = (what: string) =>
    new UserError(
      `reward ${name}: expected a finite number, or null, for each of ${completions.length} completions, got ${what}`,
      {
        code: "reward_failed",
      },
    );
  if (!Array.isArray(scores)) throw fault(scores === null ? "null" : `a ${typeof scores}`);
  if (scores.length !== completions.length) throw fault(`${scores.length} of them`);
  const wrong = scores.find((score) => score !== null && !Number.isFinite(score));
  if (wrong !== undefined) throw fault(String(wrong));
  return scores as (number | null)[];
}

/** TRL's metrics of how long completions are, in tokens, with the one that ended them. */
export function lengthsOf(drawn: readonly Drawn[]): Details {
  const of = (some: readonly Drawn[]) => (some.length === 0 ? [0] : some.map(({ ids }) => ids.length));
  const told = (lengths: readonly number[], name: string) => ({
    [`completions/mean_${name}`]: lengths.reduce((sum, n) => sum + n, 0) / lengths.length,
    [`completions/min_${name}`]: Math.min(...lengths),
    [`completions/max_${name}`]: Math.max(...lengths),
  });
  const ended = drawn.filter((one) => one.ended);
  return {
    ...told(of(drawn), "length"),
    "completions/clipped_ratio": 1 - ended.length / drawn.length,
    ...told(of(ended), "terminated_length"),
  };
}
