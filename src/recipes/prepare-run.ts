import { type AdapterInit, INITS } from "../adapters/index.js";
import type { Batches } from "../data/batches.js";
import { trainingNotes } from "../formats/hf/notes.js";
import type { Platform } from "../platform/platform.js";
import { createTokenizer, type Tokenizer } from "../tokenizers/tokenizer.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { type PipelineOptions, readsWeight } from "../training/stages/stage.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";
import { withTwins } from "./augment/training-twins.js";
import type { TrainConfig } from "./config-schema.js";
import { note, type TrainEvent } from "./events.js";
import { withKeptTexts } from "./kept-texts.js";
import type { LoadedModel } from "./model.js";
import { type Questions, readQuestions } from "./questions.js";
import { shareMade } from "./ranks.js";
import type { Reward } from "./rewards/reward.js";
import { refuseWhatCannotFit } from "./run-memory.js";
import { type Ranks, stagesOfRun } from "./stages.js";
import { type Start, startValues } from "./start-values.js";
import { openTeacher, refuseIdleTeacher } from "./teacher.js";
import { trainedWhole } from "./trained-whole.js";
import { batchesOf, type Rows, readRows, speakingAs } from "./training-rows.js";

/** What a run goes on with beside its config. */
export interface RunSetting {
  readonly platform: Platform;
  readonly communicator: Communicator;
  readonly ranks: Ranks;
  /** This process writes the output folder. */
  readonly leads: boolean;
  readonly resume: boolean;
  /** A loaded model that the run trains on. */
  readonly resident: LoadedModel | undefined;
  readonly signal: AbortSignal | undefined;
  /** Rewards beside those of the config. */
  readonly given: readonly Reward[];
  /** What is done when the run ends, the last of it first. */
  readonly cleanup: (() => unknown)[];
}

/** What is known of a run before anything is loaded. */
export interface PreparedRun {
  /** With the rows that were made for it. */
  readonly config: TrainConfig;
  readonly base: OpenModel;
  readonly tokenizer: Tokenizer;
  readonly rows: Rows;
  readonly batches: Batches;
  readonly questions: Questions | undefined;
  readonly teaching: OpenModel | undefined;
  /** Where it starts, but for what is found out of what layers are given. */
  readonly planned: Start;
  /** The blocks that are whose, where ranks hold the base together. */
  readonly pipeline: PipelineOptions | undefined;
  /** Whether this process needs a weight of the base. Default: all. */
  readonly reads: ((name: string) => boolean) | undefined;
}

/** Makes and reads a run's rows, finds out what it trains and where that starts, and refuses what cannot fit in memory. */
export async function* prepareRun(checked: TrainConfig, run: RunSetting): AsyncGenerator<TrainEvent, PreparedRun> {
  const { platform, ranks, resident, signal, cleanup } = run;
  const config = yield* withMadeRows(checked, run);
  const questions = await readQuestions(config, platform);
  const opened = resident?.open ?? (await openModel(platform.files, platform.resolveModel(config.base)));
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
  return { config, base, tokenizer, rows, batches, questions, teaching, planned, pipeline, reads };
}

/** The config with the rows, and the texts to keep, that are made for it: by the first rank alone, the others read them. */
async function* withMadeRows(
  checked: TrainConfig,
  { platform, communicator, leads, resume, resident, signal }: RunSetting,
): AsyncGenerator<TrainEvent, TrainConfig> {
  await communicator.barrier();
  if (!leads) await shareMade(communicator, checked, platform.files);
  const before = { resume: resume || !leads, model: resident, signal };
  const withRows = yield* withTwins(checked, platform, before);
  const config = yield* withKeptTexts(withRows, platform, before);
  if (leads) await shareMade(communicator, checked, platform.files);
  return config;
}
