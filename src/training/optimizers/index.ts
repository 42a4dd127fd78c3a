import { adafactor } from "./adafactor.js";
import { adamW } from "./adamw.js";
import type { Optimizer, OptimizerKind, OptimizerOptions } from "./optimizer.js";

/** Every optimiser, by its name in the config; to add one is a file and a row. */
export const OPTIMIZERS = { adamw: adamW, adafactor } as const satisfies Record<string, OptimizerKind>;

export type OptimizerName = keyof typeof OPTIMIZERS;

/** The `optimizer` section of a config, without its learning rate. Default of `name`: "adamw". */
export interface OptimizerSettings extends OptimizerOptions {
  readonly name?: OptimizerName;
  /** LoRA+: B's learning rate is so many times A's. Default: they have the same. */
  readonly loraplusLrRatio?: number | null;
}

export const createOptimizer = ({ name = "adamw", ...options }: OptimizerSettings): Optimizer =>
  OPTIMIZERS[name].create(options);
