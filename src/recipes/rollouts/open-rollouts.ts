import type { Sample } from "../../data/sample.js";
import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { createChatTemplate } from "../../tokenizers/chat-template.js";
import type { Tokenizer } from "../../tokenizers/tokenizer.js";
import type { ObjectiveOptions } from "../../training/objectives/objective.js";
import type { TrainerModel } from "../../training/pass-context.js";
import type { Scorer, ScoringModel } from "../../training/scorer.js";
import type { OpenModel } from "../../weights/model-folder.js";
import type { TrainConfig } from "../config-schema.js";
import { stopIds } from "../model.js";
import { openReference } from "../references.js";
import type { Reward } from "../rewards/reward.js";
import type { Start } from "../start-values.js";
import { promptsPerStep, type Rows } from "../training-rows.js";
import { Rollouts } from "./rollouts.js";
import { Sampler, type Trained } from "./sampler.js";

export interface RolloutParts {
  readonly config: TrainConfig;
  readonly objective: ObjectiveOptions;
  readonly platform: Platform;
  readonly base: OpenModel;
  readonly tokenizer: Tokenizer;
  /** The base. */
  readonly model: TrainerModel;
  /** The same at the temperature that completions are sampled at. */
  readonly learner: TrainerModel;
  readonly start: Start;
  readonly trainer: Trained & ScoringModel;
  readonly rewards: readonly Required<Reward>[];
  readonly rows: Pick<Rows, "train" | "validation">;
}

/**
 * Puts together what completions are sampled, rewarded and compared with. Throws UserError for a prompt that leaves no room for an answer,
 * and a reference that does not fit the base.
 */
export async function openRollouts(parts: RolloutParts): Promise<Rollouts & { readonly dispose: () => Promise<void> }> {
  const { config, objective, platform, base, tokenizer, trainer, rewards } = parts;
  const { train, validation } = parts.rows;
  refuseFull([...train, ...validation], base.config.maxPositionEmbeddings);
  const sampler = await openSampler(parts);
  const reference = objective.beta > 0 ? await referenceOf(parts) : undefined;
  const rollouts = new Rollouts({
    objective,
    rewards,
    sampler,
    model: trainer,
    reference,
    textOf: (prompt, { ids, ended }) => {
      const stream = tokenizer.decoder({ continues: !isChat(prompt) });
      return (ended ? ids.slice(0, -1) : ids).map((id) => stream.push(id)).join("") + stream.end();
    },
    batchSize: config.batchSize,
    promptsAtOnce: promptsPerStep(config),
    validation,
    files: platform.files,
    folder: config.outputDir,
  });
  const dispose = async () => {
    sampler.dispose();
    await reference?.dispose();
  };
  return Object.assign(rollouts, { dispose });
}

async function openSampler({
  config,
  objective,
  platform,
  base,
  tokenizer,
  rows,
  ...parts
}: RolloutParts): Promise<Sampler> {
  const stops = await stopsFor(
    [...rows.train, ...rows.validation],
    { name: config.base, open: base, tokenizer },
    platform,
  );
  return new Sampler(parts.model, parts.start, parts.trainer, {
    temperature: objective.temperature,
    topP: objective.topP,
    topK: objective.topK,
    minP: objective.minP,
    repetitionPenalty: objective.repetitionPenalty,
    maxNewTokens: objective.maxCompletionLength,
    seed: config.seed,
    stopsOf: (prompt) => stops[isChat(prompt) ? "chat" : "text"]!,
  });
}

/** The model without its adapter, or with another; where every weight is trained, those that it starts from. */
function referenceOf({ config, platform, base, learner, start }: RolloutParts): Promise<Scorer> {
  const initial = start.trainables.kind === "full" ? { initial: start.initial } : {};
  return openReference({ config, platform, base, model: learner, ...initial });
}

const isChat = ({ prompt }: Sample): boolean => typeof prompt!.prompt !== "string";

function refuseFull(prompts: readonly Sample[], context: number): void {
  const full = prompts.find(({ ids }) => ids.length >= context);
  if (full)
    throw new UserError(
      `row ${full.index}: its prompt has ${full.ids.length} tokens, and the model's context of ${context} leaves no room for an answer; set data.max_seq_len below it`,
      { code: "invalid_rows" },
    );
}

/** The tokens that end an answer, to texts and to conversations, as far as there are such prompts. */
async function stopsFor(
  prompts: readonly Sample[],
  model: Parameters<typeof stopIds>[0],
  platform: Platform,
): Promise<{ readonly chat?: ReadonlySet<number>; readonly text?: ReadonlySet<number> }> {
  const chat = () => createChatTemplate(model.open.tokenizer, model.tokenizer, { runner: platform.templates });
  return {
    ...(prompts.some(isChat) ? { chat: await stopIds(model, chat()) } : {}),
    ...(prompts.every(isChat) ? {} : { text: await stopIds(model, undefined) }),
  };
}
