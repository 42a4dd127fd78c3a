import { type AdapterInit, INITS } from "../adapters/index.js";
import type { Batches } from "../data/batches.js";
import { join } from "../formats/files.js";
import { readAdapter } from "../formats/peft/adapter.js";
import { type LoraConfig, linearLora, parseModulePath } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { checkpointSteps } from "../training/checkpoints.js";
import { evaStart } from "../training/eva.js";
import { initialAdapter } from "../training/init.js";
import type { TrainerModel } from "../training/pass-context.js";
import { isKept } from "../training/teacher.js";
import type { TrainConfig } from "./config-schema.js";
import { note, type TrainEvent } from "./events.js";
import { OUTPUT } from "./run-folder.js";
import type { Start } from "./start-values.js";

interface Context {
  readonly config: TrainConfig;
  readonly platform: Platform;
  readonly model: TrainerModel;
  /** The rows that are trained on, from the first micro-batch on. */
  readonly batches: () => Batches;
  readonly resume: boolean;
  readonly signal: AbortSignal | undefined;
}

/** A start as it was found, and whether it is to be kept in the run's folder. */
export interface FoundStart {
  readonly start: Start;
  readonly fresh: boolean;
}

/** A run that has none begins anew. */
const hasCheckpoint = async ({ config, platform }: Context): Promise<boolean> =>
  (await checkpointSteps(platform.files, join(config.outputDir, OUTPUT.checkpoints))).length > 0;

/**
 * The start of an adapter that is made of what its layers are given: found by running the base over rows, or by a resumed run in its
 * folder, where it is an adapter as PEFT reads it. Other starts stay as they are. Throws the signal's reason when it is aborted.
 */
export async function* startFromInputs(start: Start, context: Context): AsyncGenerator<TrainEvent, FoundStart> {
  const { config, platform, model, batches, resume, signal } = context;
  const { init, evaConfig } = config.lora;
  const { seesInputs }: AdapterInit = INITS[init];
  if (!seesInputs || start.trainables.kind === "full" || config.adapter) return { start, fresh: false };
  const { lora } = start.trainables;
  const kept = join(config.outputDir, OUTPUT.start);
  if (resume && (await hasCheckpoint(context)) && (await platform.files.stat(kept))) {
    const { config: found, tensors } = await readAdapter(platform.files, kept, model.config);
    const own: LoraConfig = { ...found, dropout: lora.dropout, init };
    return { start: { trainables: { kind: "lora", lora: own }, initial: tensors }, fresh: false };
  }
  yield note("lora.init: eva runs the base over the rows until its layers' inputs are known");
  const rows = batches();
  const next = () => {
    signal?.throwIfAborted();
    return rows.next().filter((batch) => !isKept(batch));
  };
  const found = await evaStart(model, lora, evaConfig, { seed: config.seed, next });
  const { seed } = config;
  const values = await initialAdapter(model.config, found.lora, seed, {
    components: (module) => found.components.get(module)!,
  });
  const ranks = [...found.components.keys()].map((path) => linearLora(found.lora, ...parseModulePath(path)!)!.r);
  const ended = found.converged ? "have converged" : "have not all converged, and are taken as they are";
  const message = `lora.init: after ${found.batches} micro-batches the components ${ended}; ${ranks.length} layers get ranks of ${Math.min(...ranks)} to ${Math.max(...ranks)}`;
  yield note(message);
  const initial = new Map([...values.initial, ...start.initial]);
  return { start: { ...values, initial, trainables: { kind: "lora", lora: found.lora } }, fresh: true };
}
