import { type Batches, createBatches, inOrder, splitValidation } from "../data/batches.js";
import { withCompletions, withOwnAnswers } from "../data/completions.js";
import {
  type Dataset,
  type DatasetContext,
  type DatasetReport,
  type DroppedRow,
  describeDataset,
  loadDataset,
} from "../data/dataset.js";
import { keptBeside, keptSample, withKept } from "../data/kept.js";
import { type Mixture, openMixture, type Part } from "../data/mixture.js";
import type { MicroBatch, Sample } from "../data/sample.js";
import { type Platform, readChunks } from "../platform/platform.js";
import { createChatTemplate } from "../tokenizers/chat-template.js";
import type { TokenizerFiles } from "../tokenizers/files.js";
import { withTemplateArguments } from "../tokenizers/template-arguments.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import { createObjective, OBJECTIVES, objectiveOptions } from "../training/objectives/index.js";
import type { Objective, ObjectiveKind, ObjectiveOptions } from "../training/objectives/objective.js";
import type { OpenModel } from "../weights/model-folder.js";
import type { TrainConfig } from "./config-schema.js";
import { filesOf, type TrainFiles } from "./train-files.js";

export interface Rows {
  /** The samples of all files, one file behind the other; `index` counts on from file to file. */
  readonly train: readonly Sample[];
  readonly validation: readonly Sample[];
  /** Texts on which the model is to stay as it was. */
  readonly kept: readonly Sample[];
  /** Those that are trained on and held back, file by file. */
  readonly parts: readonly Part[];
  /** What an epoch takes of each file, where they have weights. */
  readonly mixture?: Mixture | undefined;
  readonly messages: readonly string[];
  readonly dropped: readonly DroppedRow[];
  /** Some of the training rows are conversations. */
  readonly chat: boolean;
  /** What was read of each training file. */
  readonly reports: readonly DatasetReport[];
}

/** What rows are read for. */
interface Reader {
  readonly tokenizer: Tokenizer;
  readonly vocabSize: number;
}

/** A base that writes conversations as a config has it: with the arguments that the config gives its chat template. */
export function speakingAs(base: OpenModel, { data }: TrainConfig): OpenModel {
  return { ...base, tokenizer: withTemplateArguments(base.tokenizer, data.chatTemplateKwargs) };
}

/** Training and validation rows as samples, and what there is to say about them. */
export async function readRows(
  config: TrainConfig,
  platform: Platform,
  files: TokenizerFiles,
  { tokenizer, vocabSize }: Reader,
  signal: AbortSignal | undefined,
): Promise<Rows> {
  const chat = () => createChatTemplate(files, tokenizer, { runner: platform.templates });
  const context = { tokenizer, chat, vocabSize };
  const { data, seed } = config;
  const { sequences, remarks } = objectiveOf(config);
  const { rows, usesTeacher }: ObjectiveKind = OBJECTIVES[config.objective.name];
  const teacher = usesTeacher ? { teacherPrompt: config.objective.teacherPrompt ?? "" } : {};
  const options = { ...data, rows, ...teacher, ...(signal ? { signal } : {}) };
  const made = {
    perStep: config.batchSize * config.gradientAccumulationSteps,
    eosId: tokenizer.eosId,
    maxSeqLen: data.maxSeqLen,
  };
  const asTrained = (samples: readonly Sample[]) => sequences?.(samples, made) ?? samples;
  const { validation } = data;
  const datasets: Dataset[] = [];
  for (const { path, weight: _, ...own } of filesOf(data.train))
    datasets.push(await readFile(platform, context, path, { ...options, ...own }));
  const parts = partsOf(config, datasets, asTrained);
  const mixture = openMixture(parts, { seed, shuffle: data.shuffle });
  const held = typeof validation === "string" ? await readFile(platform, context, validation, options) : undefined;
  const kept = await readKept(config, platform, context, options);
  const heldBack = parts.flatMap((part) => part.held);
  return {
    train: parts.flatMap(({ samples }) => samples),
    validation: held ? asTrained(held.samples) : heldBack,
    kept: kept.flatMap(({ samples, report: { format } }) =>
      samples.map((sample) => keptSample(sample, format === "text" ? new Set() : tokenizer.specialIds)),
    ),
    parts,
    mixture,
    messages: [
      ...(data.abstain === null
        ? []
        : ["data.abstain: the rows that a run makes are not among these; lowrank augment shows them"]),
      ...datasets.flatMap(describeDataset),
      ...describeParts(datasets, parts, mixture),
      ...(remarks?.(parts.flatMap(({ samples }) => samples)) ?? []),
      ...(heldBack.length > 0 ? [`${heldBack.length} rows are held back for validation`] : []),
      ...(held ? describeDataset(held) : []),
      ...kept.flatMap(describeDataset),
      ...(config.objective.keep.generate === null
        ? []
        : ["objective.keep.generate: the texts that the base writes are not among these"]),
    ],
    dropped: datasets.flatMap(({ report }) => report.dropped),
    chat: datasets.some(({ report }) => report.chat),
    reports: datasets.map(({ report }) => report),
  };
}

/** What is trained on and what is held back of each file, its rows numbered behind those of the files before it. */
function partsOf(
  { data: { train, validation }, seed }: TrainConfig,
  datasets: readonly Dataset[],
  asTrained: (samples: readonly Sample[]) => readonly Sample[],
): (Part & { readonly held: readonly Sample[] })[] {
  let counted = 0;
  return filesOf(train).map(({ path, weight }, i) => {
    const { samples, report } = datasets[i]!;
    const numbered = samples.map((sample) => renumbered(sample, counted));
    counted += report.rows;
    const split = typeof validation === "number" ? splitValidation(numbered, validation, seed) : undefined;
    const [kept, held] = [split?.train ?? numbered, split?.validation ?? []];
    return { name: path, weight, samples: asTrained(kept), held: asTrained(held) };
  });
}

/** A sample of a row that is so many further on. */
function renumbered({ beside, taughtBy, ...sample }: Sample, by: number): Sample {
  return {
    ...sample,
    index: sample.index + by,
    ...(taughtBy ? { taughtBy: renumbered(taughtBy, by) } : {}),
    ...(beside ? { beside: beside.map((other) => renumbered(other, by)) } : {}),
  };
}

/** What a config asks to learn. */
export function objectiveOf({ objective }: TrainConfig): Objective {
  const { reference: _, keep: __, teacher: ___, teacherPrompt: ____, ...settings } = objective;
  return createObjective(settings);
}

/** The objective's settings with its own defaults, where it learns from what the model answers to prompts. */
export function samplingOf({ objective }: TrainConfig): ObjectiveOptions | undefined {
  const { reference: _, keep: __, teacher: ___, teacherPrompt: ____, ...settings } = objective;
  return OBJECTIVES[settings.name].rows === "prompts" ? objectiveOptions(settings) : undefined;
}

/** How a model answers rows itself, to learn from its own answers. */
export interface OwnAnswering {
  /** Share of the steps that do. */
  readonly lmbda: number;
  readonly maxCompletionLength: number;
  readonly temperature: number;
}

/** The same as a config has it; undefined where no step learns from the model's own answers. The length is TRL's. */
export function ownAnswering({ objective }: TrainConfig): OwnAnswering | undefined {
  const { lmbda, maxCompletionLength, temperature } = objective;
  if (!lmbda) return undefined;
  return { lmbda, maxCompletionLength: maxCompletionLength ?? 128, temperature: temperature ?? 1 };
}

/** Prompts of a step: `batchSize` counts completions, of which each prompt has as many as others. */
export function promptsPerStep(config: TrainConfig): number {
  const { batchSize, gradientAccumulationSteps } = config;
  return (batchSize * gradientAccumulationSteps) / samplingOf(config)!.numGenerations;
}

/** The rows that the model is to stay as it was on: of any format, all of a row's targets. */
async function readKept(
  { objective }: TrainConfig,
  platform: Platform,
  context: DatasetContext,
  options: Omit<Parameters<typeof loadDataset>[2], "name">,
): Promise<Dataset[]> {
  const { data } = objective.keep;
  const own = { ...options, format: "auto", columns: {}, trainOn: "auto" } as const;
  const datasets: Dataset[] = [];
  for (const path of data === null ? [] : [data].flat()) datasets.push(await readFile(platform, context, path, own));
  return datasets;
}

/** A file's rows, as a config's `data` says. */
function readFile(
  platform: Platform,
  context: DatasetContext,
  name: string,
  options: Omit<Parameters<typeof loadDataset>[2], "name">,
): Promise<Dataset> {
  return loadDataset(readChunks(platform.files, platform.resolveData(name)), context, { ...options, name });
}

/** Which rows are which file's, and what an epoch takes of each. */
function describeParts(datasets: readonly Dataset[], parts: readonly Part[], mixture: Mixture | undefined): string[] {
  if (parts.length === 1) return [];
  let from = 0;
  const places = datasets.map(({ report: { rows } }, i) => {
    const place = `${from} to ${from + rows - 1} ${parts[i]!.name}`;
    from += rows;
    return place;
  });
  const shares = mixture?.counts.map((count, i) => `${count} of ${parts[i]!.name}`).join(", ");
  return [
    `rows are numbered through all files: ${places.join(", ")}`,
    ...(shares ? [`an epoch takes samples by weight: ${shares}`] : []),
  ];
}

/** The rows in the batches that a config asks for. */
export function batchesOf(
  config: TrainConfig,
  { train, kept, mixture }: Pick<Rows, "train" | "kept" | "mixture">,
): Batches {
  const { batchSize, seed } = config;
  const { packing, maxSeqLen, shuffle } = config.data;
  const options = { maxSeqLen, shuffle, seed, draw: mixture?.draw };
  const sampling = samplingOf(config);
  const accumulation = config.gradientAccumulationSteps;
  if (sampling) {
    const prompts = createBatches(train, { ...options, batchSize: promptsPerStep(config) });
    return withCompletions(prompts, { ...sampling, batchSize, perStep: batchSize * accumulation });
  }
  const batches = createBatches(train, { ...options, batchSize, accumulation, packing });
  const own = ownAnswering(config);
  if (own) return withOwnAnswers(batches, train, { ...own, batchSize, perStep: batchSize * accumulation });
  const { share } = config.objective.keep;
  return kept.length === 0 ? batches : withKept(batches, kept, { share, batchSize, seed });
}

/** The validation rows in micro-batches, and behind them kept texts, where there are any. */
export function validationOf(
  { batchSize, seed, objective }: TrainConfig,
  { validation, kept }: Pick<Rows, "validation" | "kept">,
): MicroBatch[] {
  const { share } = objective.keep;
  return [...inOrder(validation, batchSize), ...keptBeside(validation.length, kept, { share, batchSize, seed })];
}

/** What kept texts weigh, where there are any, as the trainer takes it. */
export function keepWeightOf({ objective: { keep } }: TrainConfig): { readonly keepWeight?: number } {
  return keep.data === null ? {} : { keepWeight: keep.weight };
}

/** What decides which rows are trained on: hashes of the files with how they are read. One file that is but named is its hash. */
export async function trainIdentity(train: TrainFiles, sha256: (path: string) => Promise<string>): Promise<unknown> {
  if (typeof train === "string") return sha256(train);
  const identities: object[] = [];
  for (const { path, ...how } of filesOf(train)) identities.push({ sha256: await sha256(path), ...how });
  return identities;
}

/** The training files of a manifest: their paths beside what `trainIdentity` says. */
export function trainManifest(train: TrainFiles, identity: unknown): unknown {
  if (typeof train === "string") return { path: train, sha256: identity };
  return filesOf(train).map(({ path }, i) => ({ path, ...(identity as readonly object[])[i] }));
}
