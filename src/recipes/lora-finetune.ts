import { type AdapterInit, INITS } from "../adapters/index.js";
import { together } from "../data/sample.js";
import { writeWholeModel } from "../export/whole-model.js";
import { adapterFolder } from "../formats/adapter-folder.js";
import { formerHash } from "../formats/base-hash.js";
import { type Files, join } from "../formats/files.js";
import { trainingNotes } from "../formats/hf/notes.js";
import { jsonBytes } from "../formats/json.js";
import { markFolder } from "../formats/own-folder.js";
import { writeAdapter } from "../formats/peft/adapter.js";
import { atTemperature, EMBEDDING, type LoraConfig } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { YieldingDevice } from "../runtime/index.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { BlockTrainer } from "../training/block-trainer.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { COMMUNICATORS } from "../training/communicators/index.js";
import { readsWeight } from "../training/stages/stage.js";
import { onWholeBase } from "../training/whole-base.js";
import { adapterBase } from "../weights/adapter-base.js";
import { refuseIdleCache } from "../weights/base-cache.js";
import { loadBase } from "../weights/load-base.js";
import { openModel } from "../weights/model-folder.js";
import { withTwins } from "./augment/training-twins.js";
import { writeBest } from "./best-folder.js";
import { resolveConfig } from "./config.js";
import type { TrainConfig, TrainOptions } from "./config-schema.js";
import { startFromInputs } from "./eva-start.js";
import { asRun, type Run, type TrainEvent, type TrainResult } from "./events.js";
import { identityOf } from "./identity.js";
import { withKeptTexts } from "./kept-texts.js";
import { whileLoading } from "./loading.js";
import { rankOptions, ranksIdentity, refuseIdleRanks, withLocalSteps } from "./local-steps.js";
import { type LoadedModel, modelOf } from "./model.js";
import { refuseStages } from "./model-stages.js";
import { asking, readQuestions } from "./questions.js";
import { isFirst, platformOf, shareFound, shareMade, shareRollouts } from "./ranks.js";
import { referencesOf } from "./references.js";
import { openRewards } from "./rewards/index.js";
import type { Reward } from "./rewards/reward.js";
import { openRollouts } from "./rollouts/open-rollouts.js";
import { openOwnAnswers } from "./rollouts/own-answers.js";
import { OUTPUT, openRunFolder } from "./run-folder.js";
import { refuseWhatCannotFit } from "./run-memory.js";
import { ranksOf, stagesOfRun } from "./stages.js";
import { type Start, startValues, withoutTaken } from "./start-values.js";
import { thenScaled } from "./suite/after-training.js";
import { openTeacher, refuseIdleTeacher, teacherOf } from "./teacher.js";
import { reported } from "./trackers/reported.js";
import type { Tracker } from "./trackers/tracker.js";
import { trainLoop } from "./train-loop.js";
import { trainedWhole } from "./trained-whole.js";
import { trainingCard } from "./training-card.js";
import {
  batchesOf,
  keepWeightOf,
  objectiveOf,
  ownAnswering,
  readRows,
  samplingOf,
  speakingAs,
  trainManifest,
  validationOf,
} from "./training-rows.js";
import { findUntrainedTokens } from "./untrained-tokens.js";

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
  const { files } = platform;
  if (resident) refuseOtherModel(asked, resident);
  const ranks = await ranksOf(asked, communicator);
  refuseIdleRanks(asked, communicator);
  const { basePrecision, bnb4bitUseDoubleQuant } = resident ?? asked;
  const adapter = asked.adapter && (await adapterFolder(files, asked.adapter));
  const { reference } = asked.objective;
  const compared = reference === "base" ? reference : await adapterFolder(files, reference);
  const objective = { ...asked.objective, reference: compared };
  const checked = { ...asked, adapter, objective, basePrecision, bnb4bitUseDoubleQuant };
  refuseIdleCache(checked.baseCache, basePrecision);
  const sampling = samplingOf(checked);
  if (!sampling && given.length > 0)
    throw new UserError(
      `rewards: ${objective.name} learns from no rewards; set objective.name to grpo, or leave them out`,
    );
  const rewards = sampling ? openRewards(objective.rewards ?? [], given, platform) : [];
  const folder = checked.outputDir;
  const cleanup = leads ? [await openRunFolder(platform, folder, resume)] : [];
  try {
    await communicator.barrier();
    if (!leads) await shareMade(communicator, checked, files);
    const before = { resume: resume || !leads, model: resident, signal };
    const withRows = yield* withTwins(checked, platform, before);
    const config = yield* withKeptTexts(withRows, platform, before);
    if (leads) await shareMade(communicator, checked, files);
    const questions = await readQuestions(config, platform);
    const opened = resident?.open ?? (await openModel(files, platform.resolveModel(config.base)));
    if (!resident) cleanup.push(() => opened.close());
    const base = speakingAs(opened, config);
    for (const line of base.notes) yield note(line);
    for (const line of trainingNotes(base.configJson, config.base)) yield note(line);

    const tokenizer = createTokenizer(base.tokenizer);
    const { vocabSize } = base.config;
    const rows = await readRows(config, platform, base.tokenizer, { tokenizer, vocabSize }, signal);
    for (const line of rows.messages) yield note(line);
    refuseIdleTeacher(config, rows.train);
    const teaching = await openTeacher(config, platform, base);
    if (teaching) cleanup.push(() => teaching.close());
    const batches = batchesOf(config, rows);

    const { seesWeight }: AdapterInit = INITS[config.lora.init];
    if (seesWeight && !config.fullFinetune && !config.adapter)
      yield note(
        `lora.init: ${config.lora.init} is worked out of each adapted weight, some seconds each where they are large`,
      );
    const planned = await startValues(config, platform, base);
    if (planned.message) yield note(planned.message);
    for (const line of trainedWhole(planned.trainables, base.config, tokenizer)) yield note(line);
    const memory = { base, config, trainables: planned.trainables, batches, train: rows.train, teacher: teaching };
    const pipeline = await stagesOfRun({ ...memory, platform }, ranks);
    const stage = pipeline?.stages[ranks.pipeline.rank];
    const reads = stage && ((name: string) => readsWeight(stage, name, base.config));
    refuseWhatCannotFit({ ...memory, stage }, platform);
    const device = resident ? new YieldingDevice(resident.resident.device) : await platform.startDevice(config);
    cleanup.push(() => device.dispose());
    const notes: string[] = [];
    const onNote = (message: string) => notes.push(message);
    const model = resident
      ? { ...resident.resident, device }
      : config.fullFinetune
        ? { device, config: base.config, weights: new Map() }
        : yield* whileLoading(
            (onProgress) =>
              loadBase(platform, device, withoutTaken(base, planned.taken), { ...config, onProgress, onNote, reads }),
            platform.now,
          );
    for (const message of notes) yield note(message);
    const named = given.map(({ name, weight = 1 }) => ({ name, weight }));
    const identity = {
      ...(await identityOf(config, platform, base)),
      ...ranksIdentity(config, communicator),
      ...(given.length > 0 ? { rewards: named } : {}),
    };
    const learning = objectiveOf(config);
    const seen = { config, platform, model, batches: () => batchesOf(config, rows), resume, signal };
    const { start, fresh } = yield* startFromInputs(planned, seen);
    const initial = start.trainables.kind === "full" ? { initial: start.initial } : {};
    const samples = [...rows.train, ...rows.validation];
    if (learning.usesReference) yield note(`asking the reference about ${together(samples).length} answers, once`);
    await markFolder(files, folder, "run");
    const references = learning.usesReference
      ? await referencesOf(samples, {
          config,
          platform,
          base,
          model,
          identity,
          ...initial,
          communicator,
          ...(signal ? { signal } : {}),
        })
      : undefined;
    const learner = sampling ? { ...model, config: atTemperature(model.config, sampling.temperature) } : model;
    const teacher = yield* teacherOf(samples, { config, platform, opened: teaching, model, identity, signal });
    if (teacher) cleanup.push(async () => teacher.release());
    const own = new BlockTrainer(learner, {
      trainables: start.trainables,
      initial: start.initial,
      ...(start.fixed ? { fixed: start.fixed } : {}),
      optimizer: config.optimizer,
      objective: learning,
      ...(references ? { references } : {}),
      ...(teacher ? { teacher: teacher.teacher } : {}),
      ...keepWeightOf(config),
      communicator: ranks.data,
      ...(pipeline ? { pipeline } : {}),
      neftuneAlpha: config.neftuneAlpha ?? undefined,
      checkpointing: config.checkpointing,
      ...(batches.largest.sampled ? {} : { largestMicroBatch: batches.largest.tokens }),
      ...rankOptions(config, communicator),
    });
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
    const found = embedding ? await findUntrainedTokens(device, embedding, tokenizer, together(rows.train)) : [];
    const untrained = found.filter(({ id }) => !learnsRow(start, id));
    if (untrained.length > 0) yield note(untrainedMessage(untrained));

    const adapterOf = async (lora: LoraConfig, tensors: ReadonlyMap<string, HostTensor>) =>
      onWholeBase({ config: lora, tensors, base: await adapterBase(base, config.base) }, start.part);
    const save = async (into: string, tensors: ReadonlyMap<string, HostTensor>, result?: TrainResult) => {
      if (start.trainables.kind === "full") return writeWholeModel(files, into, base, tensors);
      const card = await trainingCard(files, config, platform.versions, result);
      const adapter = await adapterOf(start.trainables.lora, tensors);
      await writeAdapter(files, into, adapter, { tokenizer: base.tokenizer, card });
    };
    const { trainables } = start;
    const asked = resident ? { ...resident, chat: (own = base.tokenizer) => resident.chat(own) } : undefined;
    const held = { name: config.base, platform, open: base, basePrecision, bnb4bitUseDoubleQuant, tokenizer };
    const answers =
      leads && questions && trainables.kind !== "full"
        ? asking(
            asked ?? modelOf({ ...held, resident: model }),
            { ...questions, chat: rows.chat, maxSeqLen: config.data.maxSeqLen },
            (tensors) => adapterOf(trainables.lora, tensors),
          )
        : undefined;
    const ask = questions && trainables.kind !== "full" ? shareFound(communicator, answers) : undefined;
    if (fresh) {
      const first = await trainer.values(); // every rank may have to ask
      if (leads) await save(join(folder, OUTPUT.start), first);
    }
    const validation = validationOf(config, rows);
    const began = platform.now();
    const result = yield* trainLoop({
      config,
      trainer,
      batches,
      validation,
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
    const card = config.fullFinetune ? undefined : await trainingCard(files, config, platform.versions, result);
    const isBest = config.loadBestModelAtEnd && (await writeBest(platform, folder, output, card));
    if (config.loadBestModelAtEnd) yield note(bestMessage(output, result, isBest));
    if (!isBest) await save(output, last, result);
    await writeManifest(config, platform, output, { identity, chat: rows.chat }, result);
    return yield* ended({ ...result, adapter: output });
  } finally {
    for (const action of cleanup.reverse()) await action();
  }
}

function note(message: string): TrainEvent {
  return { type: "note", message };
}

async function* ended(result: TrainResult): AsyncGenerator<TrainEvent, TrainResult> {
  yield { type: "end", result };
  return result;
}

/** Throws UserError for what cannot be trained on a model that others use. */
export function refuseOtherModel(config: TrainConfig, model: LoadedModel): void {
  refuseStages(model, "a run on a loaded model trains on all of it");
  const { name, resident, basePrecision } = model;
  const { base, fullFinetune, precision, lora } = config;
  if (base !== name) throw new UserError(`base: the config says '${base}', the loaded model is '${name}'`);
  if (resident.bits)
    throw new UserError(
      `the loaded model was quantized to ${resident.bits} bits, which only generates; load it without`,
    );
  if (fullFinetune) throw new UserError("full_finetune changes the base's own weights, which others use here");
  if (lora.init === "loftq" && lora.loftqConfig.loftqIter > 1)
    throw new UserError(
      "lora.loftq_config.loftq_iter: with more than one round a run holds a base of its own, and this one is others' too; leave it out",
    );
  const other =
    (config.basePrecision !== "f32" && config.basePrecision !== basePrecision) ||
    (config.bnb4bitUseDoubleQuant && !model.bnb4bitUseDoubleQuant);
  if (other || config.baseOffload !== "none") {
    throw new UserError(
      `the loaded model is held as ${basePrecision} in memory: leave out base_precision, bnb_4bit_use_double_quant and base_offload, or load it so`,
    );
  }
  if (precision === "bf16" && resident.device.precision === "full") {
    throw new UserError("precision: the model was loaded with f32; load it with bf16, or leave precision out");
  }
}

/** What leaving the base in its file has cost. */
function diskMessage(waited: number, total: number): string {
  const times = (total / Math.max(1e-3, total - waited)).toFixed(2);
  return `${waited.toFixed(1)} of ${total.toFixed(1)} s were spent waiting for the disk: ${times} times as long as with the base in memory`;
}

/** Whether a token's row of the embedding is trained. */
function learnsRow({ trainables, initial }: Start, id: number): boolean {
  const tokens = trainables.kind === "lora" ? trainables.lora.trainableTokenIndices : undefined;
  return initial.has(EMBEDDING) || (tokens?.includes(id) ?? false);
}

function bestMessage(output: string, { best }: TrainResult, isBest: boolean): string {
  if (!isBest) return `no evaluation had a finite figure to go by: ${output} is what the last step left`;
  return `${output} is the best evaluation's, after step ${best?.step}: ${best?.name} ${best?.value}`;
}

function untrainedMessage(tokens: readonly { readonly id: number; readonly token: string }[]): string {
  return (
    `the rows use tokens that the base was never trained on: ${tokens.map(({ token }) => token).join(", ")}. Their embeddings are ` +
    `frozen in LoRA, so the model cannot learn them; lora.trainable_token_indices: [${tokens.map(({ id }) => id).join(", ")}] trains ` +
    `their rows, and an instruction-tuned base, or another chat template, avoids this`
  );
}

async function writeManifest(
  config: TrainConfig,
  platform: Platform,
  adapter: string,
  { identity, chat }: { readonly identity: Readonly<Record<string, unknown>>; readonly chat: boolean },
  result: TrainResult,
): Promise<void> {
  const { files } = platform;
  const manifest = {
    format_version: 1,
    created: new Date(platform.now()).toISOString(),
    versions: platform.versions,
    seed: config.seed,
    device: config.device,
    threads: config.threads,
    base_precision: config.basePrecision,
    ...(config.bnb4bitUseDoubleQuant ? { bnb_4bit_use_double_quant: true } : {}),
    base: { name: config.base, sha256: identity.base },
    data: {
      train: trainManifest(config.data.train, identity["data.train"]),
      apply_chat_template: chat,
      validation: config.data.validation === null ? null : { source: config.data.validation },
    },
    adapter: { path: adapter, sha256: await weightHashes(files, adapter) },
    steps: result.step,
    loss: result.loss,
    eval_loss: result.evalLoss,
    best_eval_loss: result.bestEvalLoss,
    ...(result.best
      ? { metric_for_best_model: result.best.name, best_metric: result.best.value, best_global_step: result.best.step }
      : {}),
    ...(config.loadBestModelAtEnd ? { load_best_model_at_end: true } : {}),
  };
  await files.write(join(config.outputDir, OUTPUT.manifest), jsonBytes(manifest));
}

/** SHA-256 of every file in a folder, by name. */
async function weightHashes(files: Files, folder: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const name of await files.list(folder)) hashes[name] = await files.sha256(join(folder, name));
  return hashes;
}
