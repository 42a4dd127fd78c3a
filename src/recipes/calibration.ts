import type { MicroBatch } from "../data/sample.js";
import type { ModelConfig } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import type { Device } from "../runtime/index.js";
import type { Shape } from "../tensor/index.js";
import { BlockTrainer } from "../training/block-trainer.js";
import { initialWeights, zeroAdapter } from "../training/init.js";
import type { Trainables } from "../training/layer-plan.js";
import { isTaught } from "../training/objectives/objective.js";
import { StreamTeacher } from "../training/teacher.js";
import { heldAs, storageOf } from "../weights/base-precision.js";
import { randomWeights } from "./bench.js";
import type { TrainConfig } from "./config-schema.js";
import { keepWeightOf, objectiveOf } from "./training-rows.js";

/** Layers of the two short models that are timed, as far as there are so many; their difference is the time of the layers between. */
const SHORT = [1, 3] as const;
const REPEATS = 3;

/** Seconds of a step: of each layer, and of all that is not a layer. */
export interface StepSeconds {
  readonly layer: number;
  readonly rest: number;
}

export interface Calibration {
  readonly model: ModelConfig;
  readonly trainables: Trainables;
  readonly step: readonly MicroBatch[];
  readonly config: TrainConfig;
  /** How the file stores a weight. */
  readonly stored: (name: string) => string;
  readonly platform: Platform;
}

/** Times a step on this machine: of a model of one block and one of three, on random weights. */
export async function calibrate({ step, ...of }: Calibration): Promise<StepSeconds> {
  const { model, platform, config } = of;
  const device = await platform.startDevice(config);
  try {
    const [least, most] = SHORT.map((layers) => Math.min(layers, model.numHiddenLayers)) as [number, number];
    const times: number[] = [];
    for (const numHiddenLayers of new Set([least, most])) {
      const trainer = shortTrainer({ ...of, model: { ...model, numHiddenLayers } }, device);
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
    const layer = Math.max(0, more - less) / Math.max(1, most - least) / 1000;
    return { layer, rest: less / 1000 - layer * least };
  } finally {
    await device.dispose();
  }
}

/** A trainer of a model on random weights, as the config asks for it. */
function shortTrainer(
  { model, trainables, config, stored }: Omit<Calibration, "step" | "platform">,
  device: Device,
): BlockTrainer {
  const held = heldAs(config.basePrecision, config.precision, config.bnb4bitUseDoubleQuant);
  const precision = config.baseOffload === "disk" ? "native" : held;
  const storage = (name: string, shape: Shape) => storageOf(precision, name, shape, stored(name));
  const full = trainables.kind === "full";
  const what: Trainables = full
    ? trainables
    : { kind: "lora", lora: { ...trainables.lora, layersToTransform: undefined, excludedModules: undefined } };
  const frozen = () => ({ device, config: model, weights: randomWeights(device, model, 0, storage) });
  const objective = objectiveOf(config);
  return new BlockTrainer(full ? { device, config: model, weights: new Map() } : frozen(), {
    trainables: what,
    ...(what.kind === "lora" ? zeroAdapter(model, what.lora) : { initial: initialWeights(model, 0) }),
    optimizer: config.optimizer,
    objective,
    ...(full && isTaught(objective) ? { teacher: new StreamTeacher(frozen()) } : {}),
    ...keepWeightOf(config),
    neftuneAlpha: config.neftuneAlpha ?? undefined,
    checkpointing: config.checkpointing,
    seed: 0,
  });
}
