import { answerBegins, roomFor, withAnswer } from "../../data/answered.js";
import type { MicroBatch, Sample } from "../../data/sample.js";
import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { random } from "../../tensor/random.js";
import { createChatTemplate } from "../../tokenizers/chat-template.js";
import { hasTemplates } from "../../tokenizers/files.js";
import type { Tokenizer } from "../../tokenizers/tokenizer.js";
import type { TrainerModel } from "../../training/pass-context.js";
import type { OpenModel } from "../../weights/model-folder.js";
import type { TrainConfig } from "../config-schema.js";
import { stopIds } from "../model.js";
import type { Start } from "../start-values.js";
import { type OwnAnswering, ownAnswering } from "../training-rows.js";
import { type Answer, removeCompletions, writeCompletions } from "./completions-file.js";
import { type Learned, lengthsOf } from "./rollouts.js";
import { type Drawn, Sampler, type Trained } from "./sampler.js";

export interface OwnAnswerParts {
  readonly config: TrainConfig;
  readonly platform: Platform;
  readonly base: OpenModel;
  readonly tokenizer: Tokenizer;
  readonly model: TrainerModel;
  readonly start: Start;
  readonly trainer: Trained;
  readonly rows: { readonly train: readonly Sample[] };
}

/**
 * On-policy distillation (Agarwal et al. 2024, algorithm 1; `lmbda` of TRL's GKD): in a share of the steps the rows' last answers are those
 * that the model, as it is, gives itself. Which steps, and what is drawn, depend on the seed and the step alone.
 */
export class OwnAnswers {
  private readonly parts: OwnAnswerParts;
  private readonly settings: OwnAnswering;
  private readonly sampler: Sampler;

  constructor(parts: OwnAnswerParts, settings: OwnAnswering, stops: ReadonlySet<number>) {
    const { model, start, trainer, config } = parts;
    const { temperature, maxCompletionLength } = settings;
    const all = { topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 };
    const length = { maxNewTokens: maxCompletionLength, stopsOf: () => stops };
    this.parts = parts;
    this.settings = settings;
    this.sampler = new Sampler(model, start, trainer, { ...all, ...length, temperature, seed: config.seed });
  }

  /** What is left of an earlier run goes. */
  begin(): Promise<void> {
    const { platform, config } = this.parts;
    return removeCompletions(platform.files, config.outputDir);
  }

  /** What step `step`, counted from 0, learns from: its rows, or the model's own answers to them. */
  async learn(rows: readonly MicroBatch[], step: number): Promise<Learned> {
    const { lmbda, maxCompletionLength } = this.settings;
    const { config, base, platform } = this.parts;
    if (random(config.seed, "own answers", step).uniform() >= lmbda) return { microBatches: rows, metrics: {} };
    const asked = rows.flat();
    const prompts = asked.map((sample) => ({ ...sample, ids: sample.ids.slice(0, answerBegins(sample)) }));
    const drawn = (await this.sampler.draw(prompts, 1, "own answers", step)).map(({ ids, ended }, i): Drawn => {
      const room = roomFor(asked[i]!, base.config.maxPositionEmbeddings, maxCompletionLength);
      return ids.length <= room ? { ids, ended } : { ids: ids.slice(0, room), ended: false };
    });
    await writeCompletions(platform.files, config.outputDir, "completions", this.linesOf(prompts, drawn, step + 1));
    const answers = asked.map((sample, i) => withAnswer(sample, drawn[i]!.ids));
    let at = 0;
    return { microBatches: rows.map(({ length }) => answers.slice(at, (at += length))), metrics: lengthsOf(drawn) };
  }

  private linesOf(prompts: readonly Sample[], drawn: readonly Drawn[], step: number): Answer[] {
    const { tokenizer } = this.parts;
    return drawn.map(({ ids, ended }, i) => ({
      step,
      row: prompts[i]!.index,
      prompt: tokenizer.decode([...prompts[i]!.ids]),
      completion: tokenizer.decode(ended ? ids.slice(0, -1) : [...ids]),
      ended,
      completion_ids: [...ids],
    }));
  }

  async dispose(): Promise<void> {
    this.sampler.dispose();
  }
}

/** What a config's steps learn from where it has a share of them learn from the model's own answers; undefined where it has none. */
export async function openOwnAnswers(parts: OwnAnswerParts): Promise<OwnAnswers | undefined> {
  const { config, base, tokenizer, platform, rows } = parts;
  const settings = ownAnswering(config);
  if (!settings) return undefined;
  for (const sample of rows.train) refuseUnanswerable(sample, base.config.maxPositionEmbeddings);
  const chat = () => createChatTemplate(base.tokenizer, tokenizer, { runner: platform.templates });
  const named = { name: config.base, open: base, tokenizer };
  const stops = await stopIds(named, hasTemplates(base.tokenizer) ? chat() : undefined);
  return new OwnAnswers(parts, settings, stops);
}

/** Throws UserError where a row asks nothing, or so much that no room is left for an answer. */
function refuseUnanswerable(sample: Sample, context: number): void {
  const wrong =
    answerBegins(sample) === 1
      ? "is all answer, and the model has nothing to answer"
      : roomFor(sample, context, context) < 1
        ? `leaves no room for an answer in the model's context of ${context} tokens`
        : undefined;
  if (wrong)
    throw new UserError(`row ${sample.index}: ${wrong}; objective.lmbda above 0 needs rows with a prompt`, {
      code: "invalid_rows",
    });
}
