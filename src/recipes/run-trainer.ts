import { together } from "../data/sample.js";
import { markFolder } from "../formats/own-folder.js";
import { atTemperature } from "../models/index.js";
import { type Device, YieldingDevice } from "../runtime/index.js";
import { BlockTrainer } from "../training/block-trainer.js";
import type { ObjectiveOptions } from "../training/objectives/objective.js";
import { loadBase } from "../weights/load-base.js";
import type { ResidentModel } from "../weights/load-model.js";
import { type FoundStart, startFromInputs } from "./eva-start.js";
import { note, type TrainEvent } from "./events.js";
import { identityOf } from "./identity.js";
import { whileLoading } from "./loading.js";
import { rankOptions, ranksIdentity } from "./local-steps.js";
import type { PreparedRun, RunSetting } from "./prepare-run.js";
import { referencesOf } from "./references.js";
import { withoutTaken } from "./start-values.js";
import { teacherOf } from "./teacher.js";
import { batchesOf, keepWeightOf, objectiveOf } from "./training-rows.js";

/** A run's model on a device, and what trains on it. */
export interface OpenTrainer extends FoundStart {
  readonly device: Device;
  readonly model: ResidentModel;
  /** The model as it is trained: at the temperature at which its answers are sampled. */
  readonly learner: ResidentModel;
  /** What must be equal for a run to be resumed, by the names that a refusal uses. */
  readonly identity: Readonly<Record<string, unknown>>;
  /** This process's own trainer: what `communicator.local_steps` is laid around. */
  readonly own: BlockTrainer;
}

/** Loads a prepared run's base, finds what it starts from and is compared with, and makes its trainer. */
export async function* openTrainer(
  prepared: PreparedRun,
  run: RunSetting,
  sampling: ObjectiveOptions | undefined,
): AsyncGenerator<TrainEvent, OpenTrainer> {
  const { config, base, rows, batches, teaching, planned, pipeline } = prepared;
  const { platform, communicator, ranks, resident, resume, signal, cleanup } = run;
  const device = resident ? new YieldingDevice(resident.resident.device) : await platform.startDevice(config);
  cleanup.push(() => device.dispose());
  const model = yield* placed(device, prepared, run);
  const identity = await identityIn(prepared, run);
  const learning = objectiveOf(config);
  const seen = { config, platform, model, batches: () => batchesOf(config, rows), resume, signal };
  const { start, fresh } = yield* startFromInputs(planned, seen);
  const samples = [...rows.train, ...rows.validation];
  if (learning.usesReference) yield note(`asking the reference about ${together(samples).length} answers, once`);
  await markFolder(platform.files, config.outputDir, "run");
  const references = learning.usesReference
    ? await referencesOf(samples, {
        config,
        platform,
        base,
        model,
        identity,
        ...(start.trainables.kind === "full" ? { initial: start.initial } : {}),
        communicator,
        ...(signal ? { signal } : {}),
      })
    : undefined;
  const teacher = yield* teacherOf(samples, { config, platform, opened: teaching, model, identity, signal });
  if (teacher) cleanup.push(async () => teacher.release());
  const learner = sampling ? { ...model, config: atTemperature(model.config, sampling.temperature) } : model;
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
  return { device, model, learner, start, fresh, identity, own };
}

/** The base on the run's device: a loaded model's, none where every weight is trained, or read now. */
async function* placed(
  device: Device,
  { config, base, planned, reads }: PreparedRun,
  { platform, resident }: RunSetting,
): AsyncGenerator<TrainEvent, ResidentModel> {
  if (resident) return { ...resident.resident, device };
  if (config.fullFinetune) return { device, config: base.config, weights: new Map() };
  const notes: string[] = [];
  const onNote = (message: string) => notes.push(message);
  const model = yield* whileLoading(
    (onProgress) =>
      loadBase(platform, device, withoutTaken(base, planned.taken), { ...config, onProgress, onNote, reads }),
    platform.now,
  );
  for (const message of notes) yield note(message);
  return model;
}

async function identityIn(
  { config, base }: PreparedRun,
  { platform, communicator, given }: RunSetting,
): Promise<Readonly<Record<string, unknown>>> {
  const named = given.map(({ name, weight = 1 }) => ({ name, weight }));
  return {
    ...(await identityOf(config, platform, base)),
    ...ranksIdentity(config, communicator),
    ...(given.length > 0 ? { rewards: named } : {}),
  };
}
