import type { Fn } from "../../graph/index.js";

/** What the config says of an optimiser beside its name and rate. */
export interface OptimizerOptions {
  /** Decay of the first and second moments, default [0.9, 0.999]. */
  readonly betas: readonly [number, number];
  /** Default 1e-8. */
  readonly eps: number;
  /** Decoupled decay, default 0.01. */
  readonly weightDecay: number;
}

/** How a step changes the parameters, which lie in one flat fp32 vector [n]. */
export interface Optimizer {
  /** The vectors [n] that it keeps from step to step, zero before the first; checkpoints hold them under these names. */
  readonly slots: readonly string[];
  /**
   * The step as one program: `param`, `grad` and each slot [n] -> `new_param` and `new_<slot>`. The gradient is to be
   * multiplied by the input `clip` [1]; what `scalars` names are inputs [1] as well.
   */
  step(n: number): Fn;
  /** The numbers that are the same for every element, at a learning rate and a step counted from 1. */
  scalars(lr: number, step: number): Readonly<Record<string, number>>;
}

/** An entry of the table. */
export interface OptimizerKind {
  /** For the config's reference. */
  readonly description: string;
  readonly create: (options: OptimizerOptions) => Optimizer;
}
