import type { Fn } from "../../graph/index.js";
import type { Shape } from "../../tensor/index.js";

/** What the config says of an optimiser beside its name and rate. */
export interface OptimizerOptions {
  /** Decay of the first and second moments, default [0.9, 0.999]. */
  readonly betas: readonly [number, number];
  /** Default 1e-8. */
  readonly eps: number;
  /** Decoupled decay, default 0.01. */
  readonly weightDecay: number;
}

/** How a step changes the parameters. */
export interface Optimizer {
  /** A step goes by the shapes of single tensors; else all of them are one flat vector [n] to it. Default false. */
  readonly byTensor?: boolean;
  /** What it keeps of a tensor from step to step, zero before the first: name -> shape. Checkpoints hold them under these names. */
  slots(shape: Shape): Readonly<Record<string, Shape>>;
  /**
   * The step of a tensor as one program: `param`, `grad` and each slot -> `new_param` and `new_<slot>`. The gradient is to be
   * multiplied by the input `clip` [1]; what `scalars` names are inputs [1] as well.
   */
  step(shape: Shape): Fn;
  /** The numbers that are the same for every element, at a learning rate and a step counted from 1; `decays` is false without weight decay. */
  scalars(lr: number, step: number, decays?: boolean): Readonly<Record<string, number>>;
}

/** An entry of the table. */
export interface OptimizerKind {
  /** For the config's reference. */
  readonly description: string;
  /** The options that it goes by. */
  readonly uses: readonly (keyof OptimizerOptions)[];
  readonly create: (options: OptimizerOptions) => Optimizer;
}
