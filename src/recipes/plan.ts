import { type ModelConfig, weightShapes } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { sizeOf } from "../tensor/index.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { type Forecast, totalBytes } from "../training/forecast.js";
import { type Trainables, trainableShapes } from "../training/layer-plan.js";
import { layoutOf } from "../training/parameters.js";
import type { Network } from "../training/scaling.js";
import { bubbleShare } from "../training/stages/order.js";
import { refuseIdleCache } from "../weights/base-cache.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";
import { calibrate, type StepSeconds } from "./calibration.js";
import { resolveConfig } from "./config.js";
import type { TrainOptions } from "./config-schema.js";
import { forecastOf, type RunMemory } from "./run-memory.js";
import { type Scaling, scalingOf } from "./scaling.js";
import { refuseUnstaged, splitStages } from "./stages.js";
import { freshLora } from "./start-values.js";
import { openTeacher, refuseIdleTeacher } from "./teacher.js";
import { refuseKeptHead, trainedWhole } from "./trained-whole.js";
import { batchesOf, type Rows, readRows, samplingOf, speakingAs } from "./training-rows.js";

/** What a run will take, before it is started. */
export interface Plan {
  readonly trainableParameters: number;
  readonly totalParameters: number;
  /** What of the base is trained whole beside an adapter, a line each. */
  readonly trainedWhole: readonly string[];
  readonly steps: number;
  /** Tokens of the largest micro-batch, and tokens in an average step. */
  readonly largestMicroBatch: number;
  readonly tokensPerStep: number;
  /** Bytes at the peak, by kind, their sum, and what this machine has. */
  readonly memory: Forecast;
  readonly peakBytes: number;
  readonly limitBytes: number;
  readonly fits: boolean;
  /** What `baseCache` takes on the disk. */
  readonly baseCacheBytes?: number;
  /** From a calibration on this machine; undefined where none was asked for, when the run does not fit, or learns from completions that are to be sampled. */
  readonly secondsPerStep?: number;
  readonly secondsInAll?: number;
  /** With `parallel.pipeline`: what each rank of a pipeline holds; `memory` and `peakBytes` are those of the largest. */
  readonly stages?: readonly PlannedStage[];
  /** The share of a step in which a rank of a pipeline waits for others, were all stages alike. */
  readonly bubble?: number;
  /** A modelled step of several ranks, where they were asked for. */
  readonly scaling?: Scaling;
}

/** The blocks [first, end) of a stage, and bytes of its rank at the peak. */
export interface PlannedStage {
  readonly first: number;
  readonly end: number;
  readonly memory: Forecast;
  readonly peakBytes: number;
}

export interface PlanOptions {
  /** Whether a step is timed where that is not needed for anything else. Default true. */
  readonly timed?: boolean;
  /** Ranks whose step is modelled. Default: none. */
  readonly ranks?: number;
  /** What reaches from rank to rank. Default 10 Gb/s, 50 microseconds. */
  readonly network?: Partial<Network>;
  /** Standard deviation of what a rank takes for the same work, as a share of it. Default 0.02. */
  readonly jitter?: number;
}

/**
 * Works out a run's memory from its graphs and its time from timing blocks of the model's shape on random weights, unless `timed` is
 * false; nothing of the base but its configuration and tokenizer is read. `known`: the run's rows, where somebody has read them already.
 * Throws UserError as `loraFinetune` would.
 */
export async function plan(
  options: TrainOptions,
  platform: Platform,
  asked: PlanOptions = {},
  known?: Rows,
): Promise<Plan> {
  const config = resolveConfig(options);
  refuseIdleCache(config.baseCache, config.basePrecision);
  const base = await openModel(platform.files, platform.resolveModel(config.base));
  let teacher: OpenModel | undefined;
  try {
    const { tokenizer } = speakingAs(base, config);
    const context = { tokenizer: createTokenizer(tokenizer), vocabSize: base.config.vocabSize };
    const rows = known ?? (await readRows(config, platform, tokenizer, context, undefined));
    refuseIdleTeacher(config, rows.train);
    teacher = await openTeacher(config, platform, base);
    const batches = batchesOf(config, rows);
    const trainables: Trainables = config.fullFinetune
      ? { kind: "full" }
      : { kind: "lora", lora: freshLora(config, base.config) };
    if (trainables.kind === "lora") refuseKeptHead(config, trainables.lora, base.config);
    const stored = (name: string) => base.tensors.tensors.get(name)!.stored;
    const of = { base, config, trainables, batches, train: rows.train, teacher };
    const { limit: limitBytes } = platform.memory();
    const isSampled = samplingOf(config) !== undefined; // how long completions become is not known before
    const step = batches.next();
    const timing = { model: base.config, trainables, config, stored, platform };
    const { pipeline } = config.parallel;
    let timed = pipeline > 1 ? await calibrate({ ...timing, step }) : undefined;
    const stages = timed && plannedStages(of, timed);
    const largest = stages?.reduce((most, stage) => (stage.peakBytes > most.peakBytes ? stage : most));
    const memory = largest?.memory ?? forecastOf(of);
    const peakBytes = totalBytes(memory);
    const fits = peakBytes <= limitBytes;
    if (fits && !isSampled && asked.timed !== false) timed ??= await calibrate({ ...timing, step });
    const trainable = layoutOf(trainableShapes(base.config, trainables)).elements;
    const weights = [...weightShapes(base.config).values()].reduce((n, shape) => n + sizeOf(shape), 0);
    const steps = batches.totalSteps(config);
    const secondsPerStep = fits && timed ? secondsOf(timed, base.config, stages, step.length) : undefined;
    const scaling = fits && timed ? await scalingOf(of, { timing, timed, step, stages }, asked) : undefined;
    return {
      trainableParameters: trainable,
      trainedWhole: trainedWhole(trainables, base.config, context.tokenizer),
      totalParameters: weights + (config.fullFinetune ? 0 : trainable),
      steps,
      largestMicroBatch: batches.largest.tokens,
      tokensPerStep: batches.tokensPerEpoch / batches.stepsPerEpoch,
      memory,
      peakBytes,
      limitBytes,
      fits,
      ...(config.baseCache === false ? {} : { baseCacheBytes: memory.weights }),
      ...(secondsPerStep === undefined ? {} : { secondsPerStep, secondsInAll: secondsPerStep * steps }),
      ...(stages ? { stages, bubble: bubbleShare(pipeline, config.gradientAccumulationSteps) } : {}),
      ...(scaling ? { scaling } : {}),
    };
  } finally {
    await teacher?.close();
    await base.close();
  }
}

/** The stages of a pipeline whose ranks are all as fast as this machine. */
function plannedStages(of: RunMemory, seconds: StepSeconds): PlannedStage[] {
  const { pipeline } = of.config.parallel;
  refuseUnstaged(of, pipeline);
  return splitStages(of, Array<StepSeconds>(pipeline).fill(seconds)).map((stage) => {
    const memory = forecastOf({ ...of, stage });
    return { first: stage.first, end: stage.end, memory, peakBytes: totalBytes(memory) };
  });
}

/** Seconds of a step; of a pipeline's without what messages take. */
function secondsOf(
  { layer, rest }: StepSeconds,
  { numHiddenLayers }: ModelConfig,
  stages: readonly PlannedStage[] | undefined,
  microBatches: number,
): number {
  if (!stages) return rest + layer * numHiddenLayers;
  const slowest = Math.max(
    ...stages.map(({ first, end }) => layer * (end - first) + (end === numHiddenLayers ? rest : 0)),
  );
  return (slowest * (microBatches + stages.length - 1)) / microBatches;
}
