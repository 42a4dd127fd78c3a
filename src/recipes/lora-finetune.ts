import { together } from "../data/sample.js";
import { adapterFolder } from "../formats/adapter-folder.js";
import { formerHash } from "../formats/base-hash.js";
import { type Files, join } from "../formats/files.js";
import { EMBEDDING } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { COMMUNICATORS } from "../training/communicators/index.js";
import { refuseIdleCache } from "../weights/base-cache.js";
import type { ResidentModel } from "../weights/load-model.js";
import { writeBest } from "./best-folder.js";
import { resolveConfig } from "./config.js";
import type { TrainConfig, TrainOptions } from "./config-schema.js";
import { asRun, note, type Run, type TrainEvent, type TrainResult } from "./events.js";
import { refuseOtherModel } from "./loaded-model.js";
import { refuseIdleRanks, withLocalSteps } from "./local-steps.js";
import { type LoadedModel, modelOf } from "./model.js";
import { type PreparedRun, prepareRun, type RunSetting } from "./prepare-run.js";
import { asking } from "./questions.js";
import { isFirst, platformOf, shareFound, shareRollouts } from "./ranks.js";
import { openRewards } from "./rewards/index.js";
import type { Reward } from "./rewards/reward.js";
import { openRollouts } from "./rollouts/open-rollouts.js";
import { openOwnAnswers } from "./rollouts/own-answers.js";
import { OUTPUT, openRunFolder } from "./run-folder.js";
import { resultsOf, writeManifest } from "./run-results.js";
import { openTrainer } from "./run-trainer.js";
import { ranksOf } from "./stages.js";
import { thenScaled } from "./suite/after-training.js";
import { reported } from "./trackers/reported.js";
import type { Tracker } from "./trackers/tracker.js";
import { trainLoop } from "./train-loop.js";
import { trainingCard } from "./training-card.js";
import { ownAnswering, samplingOf, validationOf } from "./training-rows.js";
import { untrainedTokensMessage } from "./untrained-tokens.js";

export interface RunOptions {
  /** Continue from the newest sound checkpoint in the output folder. Default false. */
  readonly resume?: boolean;
  /** Aborting finishes the step in progress, writes a checkpoint and ends the run. */
  readonly signal?: AbortSignal;
  /**
   * Train on this model's device and weights instead of loading the base a second time. It can generate meanwhile: steps are
   * handed to the device in small parts, with room between them. `device`, `threads` and `basePrecision` are then the model's.
   * Default: the base is loaded for the run.
   */
  readonly model?: LoadedModel;
  /** With grpo: rewards beside those of the config. A resumed run needs those of the same names again. Default: none. */
  readonly rewards?: readonly Reward[];
  /** Trackers beside those of `reportTo`. Default: none. */
  readonly trackers?: readonly Tracker[];
  /**
   * The processes that do this run together, of which this is one: each is called with the same config and computes its part of
   * every step. The first of them writes the output folder, and its result alone has an `adapter`. Default: this is the only one.
   */
  readonly communicator?: Communicator;
}

/**
 * Fine-tunes a model with LoRA (Hu et al. 2021): the base stays frozen, every chosen linear layer gets a trainable update
 * scale BA. Iterate over the run for its events, or await `result()`. Writes to `outputDir`: `adapter/` in PEFT's form,
 * checkpoints, metrics, the resolved config, a manifest, TensorBoard events and a loss chart.
 * Throws UserError for what the user can mend: the config, the model, the rows, a folder in use, not enough memory.
 */
export function loraFinetune(
  options: TrainOptions,
  platform: Platform,
  run: RunOptions = {},
): Run<TrainEvent, TrainResult> {
  const config = resolveConfig(options);
  const training = thenScaled(program(config, platform, run), config, platform, run);
  return asRun(reported(training, config, platform, run.trackers));
}

async function* program(
  asked: TrainConfig,
  system: Platform,
  { resume = false, signal, model: resident, rewards: given = [], communicator = COMMUNICATORS.local() }: RunOptions,
): AsyncGenerator<TrainEvent, TrainResult> {
  const platform = platformOf(communicator, system, asked.outputDir);
  const leads = isFirst(communicator);
  if (resident) refuseOtherModel(asked, resident);
  const ranks = await ranksOf(asked, communicator);
  refuseIdleRanks(asked, communicator);
  const checked = await withFolders(asked, platform.files, resident);
  refuseIdleCache(checked.baseCache, checked.basePrecision);
  const sampling = samplingOf(checked);
  const rewards = sampling
    ? openRewards(checked.objective.rewards ?? [], given, platform)
    : withoutRewards(checked, given);
  const folder = checked.outputDir;
  const cleanup = leads ? [await openRunFolder(platform, folder, resume)] : [];
  const run = { platform, communicator, ranks, leads, resume, resident, signal, given, cleanup };
  try {
    const prepared = yield* prepareRun(checked, run);
    const { config, base, tokenizer, questions, rows, batches } = prepared;
    const { device, model, learner, start, fresh, identity, own } = yield* openTrainer(prepared, run, sampling);
    const trainer = withLocalSteps(own, config, communicator);
    if (resident) cleanup.push(() => trainer.dispose());
    const opening = { config, platform, base, tokenizer, model, learner, start, trainer: own, rewards, rows };
    const open = () => (sampling ? openRollouts({ ...opening, objective: sampling }) : openOwnAnswers(opening));
    const sampler = leads ? await open() : undefined;
    if (sampler) cleanup.push(() => sampler.dispose());
    const isSampled = sampling !== undefined || ownAnswering(config) !== undefined;
    const rollouts = isSampled ? shareRollouts(communicator, sampler, sampling !== undefined) : undefined;
    const parameters = { ...Object.fromEntries(model.weights), ...Object.fromEntries(own.parameters) };
    const embedding = parameters[EMBEDDING]; // not there in the middle of a pipeline
    const tokens = embedding && { device, embedding, tokenizer, samples: together(rows.train), start };
    const untrained = tokens && (await untrainedTokensMessage(tokens));
    if (untrained) yield note(untrained);

    const { adapterOf, save } = resultsOf({ config, platform, base, start });
    const asks = questions && adapterOf && { ...questions, chat: rows.chat, maxSeqLen: config.data.maxSeqLen };
    const answers = leads && asks ? asking(askedModel(prepared, run, model), asks, adapterOf!) : undefined;
    const ask = asks ? shareFound(communicator, answers) : undefined;
    if (fresh) {
      const first = await trainer.values(); // every rank may have to ask
      if (leads) await save(join(folder, OUTPUT.start), first);
    }
    const began = platform.now();
    const result = yield* trainLoop({
      config,
      trainer,
      batches,
      validation: validationOf(config, rows),
      ...(ask ? { ask } : {}),
      identity,
      formerIdentity: { base: await formerHash(await base.hash(), base.path) },
      save,
      platform,
      resume,
      communicator,
      ...(rollouts ? { rollouts } : {}),
      ...(signal ? { signal } : {}),
    });

    const waited = ((await device.memory()).fileWaitMs ?? 0) / 1000;
    if (config.baseOffload === "disk") yield note(diskMessage(waited, (platform.now() - began) / 1000));
    const last = await trainer.values(); // every rank of a pipeline has to ask
    if (result.interrupted || !leads) return yield* ended(result);
    const output = join(folder, config.fullFinetune ? OUTPUT.model : OUTPUT.adapter);
    const card = config.fullFinetune
      ? undefined
      : await trainingCard(platform.files, config, platform.versions, result);
    const isBest = config.loadBestModelAtEnd && (await writeBest(platform, folder, output, card));
    if (config.loadBestModelAtEnd) yield note(bestMessage(output, result, isBest));
    if (!isBest) await save(output, last, result);
    await writeManifest(config, platform, output, { identity, chat: rows.chat }, result);
    return yield* ended({ ...result, adapter: output });
  } finally {
    for (const action of cleanup.reverse()) await action();
  }
}

/** The config with the adapters that it names found, and with the base as it is held. */
async function withFolders(asked: TrainConfig, files: Files, resident: LoadedModel | undefined): Promise<TrainConfig> {
  const { basePrecision, bnb4bitUseDoubleQuant } = resident ?? asked;
  const adapter = asked.adapter && (await adapterFolder(files, asked.adapter));
  const { reference } = asked.objective;
  const compared = reference === "base" ? reference : await adapterFolder(files, reference);
  const objective = { ...asked.objective, reference: compared };
  return { ...asked, adapter, objective, basePrecision, bnb4bitUseDoubleQuant };
}

/** No rewards, where the objective learns from none. Throws UserError where some were given. */
function withoutRewards({ objective: { name } }: TrainConfig, given: readonly Reward[]): [] {
  if (given.length > 0)
    throw new UserError(`rewards: ${name} learns from no rewards; set objective.name to grpo, or leave them out`);
  return [];
}

/** The run's model as others are asked: a loaded one speaks as the run's rows do. */
function askedModel(
  { config, base, tokenizer }: PreparedRun,
  { platform, resident }: RunSetting,
  model: ResidentModel,
): LoadedModel {
  if (resident) return { ...resident, chat: (own = base.tokenizer) => resident.chat(own) };
  const { base: name, basePrecision, bnb4bitUseDoubleQuant } = config;
  return modelOf({ name, platform, open: base, basePrecision, bnb4bitUseDoubleQuant, tokenizer, resident: model });
}

async function* ended(result: TrainResult): AsyncGenerator<TrainEvent, TrainResult> {
  yield { type: "end", result };
  return result;
}

/** What leaving the base in its file has cost. */
function diskMessage(waited: number, total: number): string {
  const times = (total / Math.max(1e-3, total - waited)).toFixed(2);
  return `${waited.toFixed(1)} of ${total.toFixed(1)} s were spent waiting for the disk: ${times} times as long as with the base in memory`;
}

function bestMessage(output: string, { best }: TrainResult, isBest: boolean): string {
  if (!isBest) return `no evaluation had a finite figure to go by: ${output} is what the last step left`;
  return `${output} is the best evaluation's, after step ${best?.step}: ${best?.name} ${best?.value}`;
}
