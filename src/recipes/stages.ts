import type { Batches } from "../data/batches.js";
import type { Sample } from "../data/sample.js";
import { asAdapted } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { COMMUNICATORS } from "../training/communicators/index.js";
import { totalBytes } from "../training/forecast.js";
import { planOuter, type Trainables } from "../training/layer-plan.js";
import { splitBlocks } from "../training/stages/split.js";
import { type PipelineOptions, type Stage, stagesOf } from "../training/stages/stage.js";
import type { OpenModel } from "../weights/model-folder.js";
import { calibrate, type StepSeconds } from "./calibration.js";
import type { TrainConfig } from "./config-schema.js";
import { forecastOf } from "./run-memory.js";

/** What stages are made of. */
export interface Staged {
  readonly base: OpenModel;
  readonly config: TrainConfig;
  readonly trainables: Trainables;
  readonly batches: Batches;
  readonly train: readonly Sample[];
  readonly platform: Platform;
}

/** The ranks of a run: those that hold the base together with this one, and those that hold the same blocks as this one. */
export interface Ranks {
  readonly all: Communicator;
  readonly pipeline: Communicator;
  readonly data: Communicator;
}

/** Puts a run's ranks into pipelines of `parallel.pipeline` neighbours each. Throws UserError where they cannot be dealt out so. */
export async function ranksOf({ parallel: { pipeline } }: TrainConfig, all: Communicator): Promise<Ranks> {
  const { rank, size } = all;
  if (size % pipeline !== 0)
    throw new UserError(
      `parallel.pipeline: ${pipeline} stages need a multiple of ${pipeline} ranks, and there ${size === 1 ? "is 1" : `are ${size}`}; start the run as mpirun -n ${pipeline} lowrank train ..., or set it to 1`,
    );
  if (pipeline === 1) return { all, pipeline: COMMUNICATORS.local(), data: all };
  return {
    all,
    pipeline: await all.split(Math.floor(rank / pipeline)),
    data: await all.split(rank % pipeline),
  };
}

/**
 * The stages of a run; undefined where it has one. A short calibration on every rank says how long a block and the rest of a step take
 * there; no stage's share of the time and of the bytes is larger than need be. Throws UserError where the base has too few blocks.
 */
export async function stagesOfRun(of: Staged, ranks: Ranks): Promise<PipelineOptions | undefined> {
  const { base, trainables, batches, config, platform } = of;
  const stages = ranks.pipeline.size;
  if (stages === 1) return undefined;
  refuseUnstaged(of, stages);
  const place = batches.cursor;
  const step = batches.next().slice(0, 1);
  batches.seek(place);
  const stored = (name: string) => base.tensors.tensors.get(name)!.stored;
  const own = await calibrate({ model: base.config, trainables, step, config, stored, platform });
  // Every pipeline has the same stages: what ranks of the same place have measured is added up.
  const measured = new Float64Array(2 * stages);
  measured.set([own.layer, own.rest], 2 * ranks.pipeline.rank);
  await ranks.all.sum(measured);
  const seconds = Array.from({ length: stages }, (_, i) => ({ layer: measured[2 * i]!, rest: measured[2 * i + 1]! }));
  return { ranks: ranks.pipeline, stages: splitStages(of, seconds) };
}

/** Throws UserError for what cannot be trained in so many stages. */
export function refuseUnstaged({ base, trainables }: Pick<Staged, "base" | "trainables">, stages: number): void {
  const { numHiddenLayers: blocks } = base.config;
  if (stages > blocks)
    throw new UserError(
      `parallel.pipeline: ${stages} stages, and the base has ${blocks} blocks; take at most ${blocks}`,
    );
  const adapted = trainables.kind === "lora" ? asAdapted(base.config, trainables.lora) : base.config;
  const { embedding, tokens } = planOuter(adapted, trainables);
  if (adapted.tieWordEmbeddings && (embedding || tokens.length > 0))
    throw new UserError(
      "lora.trainable_token_indices: rows that the embedding and the head share are at both ends of a pipeline; leave it out, or set parallel.pipeline to 1",
    );
}

/** The stages whose largest share of the bytes or of the time, as each rank takes it, is the smallest. */
export function splitStages(of: Omit<Staged, "platform">, seconds: readonly StepSeconds[]): Stage[] {
  const { length: count } = seconds;
  const { numHiddenLayers: blocks } = of.base.config;
  const bytes = (stage: Stage) => totalBytes(forecastOf({ ...of, teacher: undefined, stage }));
  const bytesOf = inBlocks(bytes, count, blocks);
  const time = (index: number, n: number) =>
    n * Math.max(seconds[index]!.layer, 1e-9) + (index === count - 1 ? Math.max(0, seconds[index]!.rest) : 0);
  const [allBytes, allTime] = [bytesOf(0, blocks), time(count - 1, blocks)];
  return stagesOf(
    splitBlocks(blocks, count, (index, first, end) =>
      Math.max(bytesOf(index, end - first) / allBytes, time(index, end - first) / allTime),
    ),
  );
}

/** Bytes of a stage by its place and the number of its blocks, which are alike: two forecasts for each place say all. */
function inBlocks(bytes: (stage: Stage) => number, count: number, blocks: number) {
  const stageAt = (index: number, n: number): Stage => {
    const first = index === 0 ? 0 : index === count - 1 ? blocks - n : 1;
    return { index, count, first, end: first + n };
  };
  const few = Array.from({ length: count }, (_, index) => bytes(stageAt(index, 1)));
  const each = few.map((one, index) => (blocks > count ? bytes(stageAt(index, 2)) - one : 0));
  return (index: number, n: number): number => few[index]! + (n - 1) * each[index]!;
}
