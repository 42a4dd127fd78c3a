import type { MicroBatch } from "../data/sample.js";
import type { HostTensor } from "../tensor/index.js";
import type { Validation } from "./validation.js";

export interface StepOptions {
  readonly lr: number;
  /** 0: gradients are not clipped. */
  readonly maxGradNorm: number;
  /** Where ranks step apart: they agree on their parameters after this step. Default true. */
  readonly meets?: boolean;
}

/** What one optimiser step did. */
export interface StepResult {
  /** The objective over all micro-batches of the step; in SFT the mean cross entropy per supervised token, in nats. */
  readonly loss: number;
  /** What else the objective tells of the step, by its names on disk. */
  readonly metrics: Readonly<Record<string, number>>;
  /** L2 norm of the whole gradient before clipping. */
  readonly gradNorm: number;
  /** Real tokens computed. */
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** False when loss or gradient was not finite: parameters and moments are then as before the step. */
  readonly applied: boolean;
}

/** Everything a resumed run needs to continue bit for bit: flat fp32 vectors over all trainable parameters. */
export interface TrainerState {
  /** Optimiser steps applied so far (Adam's t). */
  readonly step: number;
  readonly parameters: ReadonlyMap<string, HostTensor>;
  /** What the optimiser keeps, by the names of its slots; each keyed like `parameters`. */
  readonly slots: ReadonlyMap<string, ReadonlyMap<string, HostTensor>>;
}

/**
 * A model with trainable parameters and an optimiser on a device. Parameter names are PEFT's without the file prefix:
 * `model.layers.0.self_attn.q_proj.lora_A.weight`; in a full fine-tune they are the names that the model is published with.
 */
export interface Trainer {
  readonly trainableParameters: number;
  readonly totalParameters: number;
  /**
   * One optimiser step over k micro-batches (gradient accumulation). The objective's means are over all of them: in SFT every
   * supervised token weighs the same, whichever micro-batch it is in. Gradients are clipped to `maxGradNorm` (0: not clipped).
   */
  step(microBatches: readonly MicroBatch[], options: StepOptions): Promise<StepResult>;
  /** The objective over rows as over one step, without dropout, nothing updated. */
  validate(microBatches: readonly MicroBatch[]): Promise<Validation>;
  state(): Promise<TrainerState>;
  /** The parameters alone, of the same. */
  values(): Promise<TrainerState["parameters"]>;
  restore(state: TrainerState): Promise<void>;
  /** Peak resident bytes of the process so far. */
  peakMemoryBytes(): number;
  dispose(): Promise<void>;
}
