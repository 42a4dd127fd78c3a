import type { MicroBatch } from "../data/sample.js";
import { type ModelConfig, weightShapes } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { type Shape, sizeOf } from "../tensor/index.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { BlockTrainer } from "../training/block-trainer.js";
import { type Forecast, totalBytes } from "../training/forecast.js";
import { initialWeights, zeroAdapter } from "../training/init.js";
import { type Trainables, trainableShapes } from "../training/layer-plan.js";
import { isTaught } from "../training/objectives/objective.js";
import { layoutOf } from "../training/parameters.js";
import { StreamTeacher } from "../training/teacher.js";
import { refuseIdleCache } from "../weights/base-cache.js";
import { heldAs, storageOf } from "../weights/base-precision.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";
import { randomWeights } from "./bench.js";
import { resolveConfig } from "./config.js";
import type { TrainConfig, TrainOptions } from "./config-schema.js";
import { forecastOf } from "./run-memory.js";
import { freshLora } from "./start-values.js";
import { openTeacher, refuseIdleTeacher } from "./teacher.js";
import { refuseKeptHead, trainedWhole } from "./trained-whole.js";
import { batchesOf, keepWeightOf, objectiveOf, readRows, samplingOf, speakingAs } from "./training-rows.js";

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
}

/**
 * Works out a run's memory from its graphs and its time from timing blocks of the model's shape on random weights, unless `timed` is
 * false; nothing of the base but its configuration and tokenizer is read. Throws UserError as `loraFinetune` would.
 */
export async function plan(
  options: TrainOptions,
  platform: Platform,
  { timed = true }: { readonly timed?: boolean } = {},
): Promise<Plan> {
  const config = resolveConfig(options);
  refuseIdleCache(config.baseCache, config.basePrecision);
  const base = await openModel(platform.files, platform.resolveModel(config.base));
  let teacher: OpenModel | undefined;
  try {
    const { tokenizer } = speakingAs(base, config);
    const context = { tokenizer: createTokenizer(tokenizer), vocabSize: base.config.vocabSize };
    const rows = await readRows(config, platform, tokenizer, context, undefined);
    refuseIdleTeacher(config, rows.train);
    teacher = await openTeacher(config, platform, base);
    const batches = batchesOf(config, rows);
    const trainables: Trainables = config.fullFinetune
      ? { kind: "full" }
      : { kind: "lora", lora: freshLora(config, base.config) };
    if (trainables.kind === "lora") refuseKeptHead(config, trainables.lora, base.config);
    const stored = (name: string) => base.tensors.tensors.get(name)!.stored;
    const memory = forecastOf({ base, config, trainables, batches, train: rows.train, teacher });
    const [peakBytes, limitBytes] = [totalBytes(memory), platform.memory().limit];
    const trainable = layoutOf(trainableShapes(base.config, trainables)).elements;
    const weights = [...weightShapes(base.config).values()].reduce((n, shape) => n + sizeOf(shape), 0);
    const steps = batches.totalSteps(config);
    const fits = peakBytes <= limitBytes;
    const isSampled = samplingOf(config) !== undefined; // how long completions become is not known before
    const secondsPerStep =
      fits && timed && !isSampled
        ? await calibrate(base.config, trainables, batches.next(), config, stored, platform)
        : undefined;
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
    };
  } finally {
    await teacher?.close();
    await base.close();
  }
}

/** Layers of the two short models that are timed, as far as there are so many; their difference is the time of the layers between. */
const SHORT = [1, 3] as const;
const REPEATS = 3;

/** Seconds of one step: a model of one block and one of three are timed, and the rest is extrapolated. */
async function calibrate(
  model: ModelConfig,
  trainables: Trainables,
  step: readonly MicroBatch[],
  config: TrainConfig,
  stored: (name: string) => string,
  platform: Platform,
): Promise<number> {
  const held = heldAs(config.basePrecision, config.precision, config.bnb4bitUseDoubleQuant);
  const precision = config.baseOffload === "disk" ? "native" : held;
  const storage = (name: string, shape: Shape) => storageOf(precision, name, shape, stored(name));
  const device = await platform.startDevice(config);
  try {
    const times: number[] = [];
    const [least, most] = SHORT.map((layers) => Math.min(layers, model.numHiddenLayers)) as [number, number];
    for (const numHiddenLayers of new Set([least, most])) {
      const short = { ...model, numHiddenLayers };
      const full = trainables.kind === "full";
      const what: Trainables = full
        ? trainables
        : { kind: "lora", lora: { ...trainables.lora, layersToTransform: undefined, excludedModules: undefined } };
      const frozen = () => ({ device, config: short, weights: randomWeights(device, short, 0, storage) });
      const objective = objectiveOf(config);
      const trainer = new BlockTrainer(full ? { device, config: short, weights: new Map() } : frozen(), {
        trainables: what,
        ...(what.kind === "lora" ? zeroAdapter(short, what.lora) : { initial: initialWeights(short, 0) }),
        optimizer: config.optimizer,
        objective,
        ...(full && isTaught(objective) ? { teacher: new StreamTeacher(frozen()) } : {}),
        ...keepWeightOf(config),
        neftuneAlpha: config.neftuneAlpha ?? undefined,
        checkpointing: config.checkpointing,
        seed: 0,
      });
      const taken: number[] = [];
      for (let i = 0; i <= REPEATS; i++) {
        const start = platform.now();
        await trainer.step(step, { lr: 1e-5, maxGradNorm: config.maxGradNorm });
        if (i > 0) taken.push(platform.now() - start);
      }
      times.push(Math.min(...taken));
      await trainer.dispose();
    }
    const [less, more = less] = times as [number, number?];
    const layer = Math.max(0, more - less) / Math.max(1, most - least);
    return (less + layer * (model.numHiddenLayers - least)) / 1000;
  } finally {
    await device.dispose();
  }
}
