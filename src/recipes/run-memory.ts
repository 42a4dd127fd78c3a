import { type Batches, type Largest, totalTokens } from "../data/batches.js";
import { type Sample, together } from "../data/sample.js";
import type { ModelConfig } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { type Forecast, forecast, totalBytes } from "../training/forecast.js";
import type { Trainables } from "../training/layer-plan.js";
import { isTaught } from "../training/objectives/objective.js";
import { markedTokens } from "../training/objectives/sequences.js";
import { SHARED_ROWS, sharedPrefixOf } from "../training/shared-prefix.js";
import { readsWeight, type Stage } from "../training/stages/stage.js";
import { type BaseMemory, baseMemory, type HeldPrecision, heldAs } from "../weights/base-precision.js";
import type { OpenModel } from "../weights/model-folder.js";
import type { TrainConfig } from "./config-schema.js";
import { objectiveOf } from "./training-rows.js";

/** What decides how much memory a run takes. */
export interface RunMemory {
  readonly base: OpenModel;
  readonly config: TrainConfig;
  readonly trainables: Trainables;
  readonly batches: Batches;
  readonly train: readonly Sample[];
  /** Another base that is learned from. */
  readonly teacher: OpenModel | undefined;
  /** The blocks that this rank holds. Default: all. */
  readonly stage?: Stage | undefined;
}

/** Bytes of a run at its peak with micro-batches of at most so many tokens. Default: its own. */
export function forecastOf(run: RunMemory, tokens = run.batches.largest.tokens): Forecast {
  const { base, config, trainables, batches, teacher, stage } = run;
  const objective = objectiveOf(config);
  const taught = isTaught(objective) && objective.lesson.topK === undefined;
  return forecast(base.config, {
    ...batches.largest,
    longest: attentionRows(base.config, run.train, batches.largest),
    ...(taught ? { kept: markedTokens(together(run.train)) } : {}),
    trainables,
    tokens,
    checkpointing: config.checkpointing,
    accumulation: config.gradientAccumulationSteps,
    precision: config.precision,
    optimizer: config.optimizer.name,
    base: heldMemory(base, config, { stage }),
    stage,
    localSteps: config.communicator.localSteps !== null,
    ...(teacher ? { teacher: heldMemory(teacher, config) } : {}),
  });
}

/** Rows that attention goes over at most: of the longest sample, of pairs with a shared prompt, of samples that begin alike. */
function attentionRows(config: ModelConfig, train: readonly Sample[], { tokens, longest }: Largest): number {
  const shared = sharedPrefixOf(config);
  const pairs = train.map((sample) => together([sample])).filter((pair) => shared(pair, 0).count > 1);
  const rows = pairs.map((pair) => totalTokens(pair) - (pair.length - 1) * shared(pair, 0).prefix);
  const alike = train.some((_, i) => shared(train, i).count > 1) ? Math.min(SHARED_ROWS, tokens) : 0;
  return rows.reduce((a, b) => Math.max(a, b), Math.max(longest, alike));
}

function heldMemory(
  { config: model, tensors }: OpenModel,
  config: TrainConfig,
  { precision, stage }: { readonly precision?: HeldPrecision; readonly stage?: Stage | undefined } = {},
): BaseMemory {
  const held = precision ?? heldAs(config.basePrecision, config.precision, config.bnb4bitUseDoubleQuant);
  const stored = (name: string) => tensors.tensors.get(name)!.stored;
  const reads = stage && ((name: string) => readsWeight(stage, name, model));
  return baseMemory(model, held, stored, config.baseOffload === "disk", reads);
}

/** Compares the forecast with the memory there is, before anything is loaded. Throws UserError where it does not fit. */
export function refuseWhatCannotFit(run: RunMemory, platform: Platform): void {
  const { base, config, batches } = run;
  const { limit } = platform.memory();
  const { tokens } = batches.largest;
  const total = (size: number) => totalBytes(forecastOf(run, size));
  const needed = total(tokens);
  if (needed <= limit) return;
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  const fits = [tokens / 2, tokens / 4, tokens / 8, tokens / 16].map(Math.floor).find((size) => total(size) <= limit);
  const shares = Object.entries(forecastOf(run)).map(([kind, bytes]) => `${kind} ${gb(bytes)}`);
  const isSmaller = heldMemory(base, config, { precision: "nf4" }).weights < heldMemory(base, config).weights;
  const ways = [
    ...(config.checkpointing ? [] : ["checkpointing: true"]),
    ...(config.fullFinetune && config.optimizer.name === "adamw" ? ["optimizer.name: adafactor"] : []),
    ...(isSmaller && !config.fullFinetune ? ["base_precision: nf4"] : []),
    ...(batches.largest.sampled ? ["a smaller objective.max_completion_length"] : []),
    ...(config.batchSize > 1 ? ["a smaller batch_size with more gradient_accumulation_steps"] : []),
    ...(fits ? [`micro-batches of at most ${fits} tokens (batch_size x data.max_seq_len) fit`] : ["a smaller model"]),
  ];
  throw new UserError(
    `this run needs ${gb(needed)} (${shares.join(", ")}) and there are ${gb(limit)}; it was not started. ${ways.join("; ")}`,
    { code: "insufficient_memory" },
  );
}
