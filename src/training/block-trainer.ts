import type { MicroBatch } from "../data/sample.js";
import type { SavePolicy } from "../graph/index.js";
import { type ModelConfig, weightShapes } from "../models/index.js";
import type { Device, View } from "../runtime/index.js";
import { type HostTensor, sizeOf, UserError } from "../tensor/index.js";
import { Activations } from "./activations.js";
import { AttentionInputs } from "./attention-inputs.js";
import { type BatchLayout, CHUNK, headChunks, layOut } from "./batch-layout.js";
import { BlockPrograms } from "./block-programs.js";
import type { Communicator } from "./communicators/communicator.js";
import { COMMUNICATORS } from "./communicators/index.js";
import { GradientSum } from "./gradient-sum.js";
import { planLayers, type Trainables, trainableShapes } from "./layer-plan.js";
import { createOptimizer, type OptimizerSettings } from "./optimizers/index.js";
import { downloadAll, type Layout, layoutOf } from "./parameters.js";
import { type PassContext, runPass, type TrainPass } from "./pass.js";
import type { StepResult, Trainer, TrainerState } from "./trainer.js";
import { Updater } from "./updater.js";

/** A model on a device: its frozen weights by checkpoint name (none in a full fine-tune). */
export interface TrainerModel {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly weights: ReadonlyMap<string, View>;
}

export interface BlockTrainerOptions {
  readonly trainables: Trainables;
  /** Start values of every trainable tensor by checkpoint name. */
  readonly initial: ReadonlyMap<string, HostTensor>;
  readonly optimizer: OptimizerSettings;
  /** How this process adds up its steps with others'. Default: it is the only one. */
  readonly communicator?: Communicator;
  /** Run each block's forward again before its backward instead of keeping its activations. Default false. */
  readonly checkpointing?: boolean;
  /** What the programs of a block keep for their backward. Default "cheap". */
  readonly save?: SavePolicy;
  /** Tokens of the largest micro-batch to come, for which memory is set aside at once. Default: it is made as batches grow. */
  readonly largestMicroBatch?: number;
  readonly seed: number;
}

/** Trains a model block by block: one compiled forward and backward serve every layer, fed that layer's weights. */
export class BlockTrainer implements Trainer {
  readonly trainableParameters: number;
  readonly totalParameters: number;
  /** The current trainable tensors on the device; the views change after every step. */
  get parameters(): ReadonlyMap<string, View> {
    return this.updater.parameters;
  }

  private readonly model: TrainerModel;
  private readonly options: BlockTrainerOptions;
  private readonly layout: Layout;
  private readonly context: PassContext;
  private readonly updater: Updater;
  private readonly gradient: GradientSum;
  private readonly communicator: Communicator;
  private peak = 0;

  constructor(model: TrainerModel, options: BlockTrainerOptions) {
    const { device, config } = model;
    this.model = model;
    this.options = options;
    this.layout = layoutOf(trainableShapes(config, options.trainables));
    this.trainableParameters = this.layout.elements;
    const base = [...weightShapes(config).values()].reduce((n, shape) => n + sizeOf(shape), 0);
    this.totalParameters = base + (options.trainables.kind === "lora" ? this.layout.elements : 0);
    this.updater = new Updater(device, this.layout, createOptimizer(options.optimizer), options.initial);
    this.gradient = new GradientSum(device, this.layout);
    this.communicator = options.communicator ?? COMMUNICATORS.local();
    this.context = this.makeContext();
  }

  private makeContext(): PassContext {
    const { device, config, weights } = this.model;
    const { checkpointing = false, save = "cheap", trainables, largestMicroBatch } = this.options;
    const plan = planLayers(config, trainables);
    const lowest = plan.findIndex((p) => p.needsX || p.inputTrainables.length > 0 || p.outputTrainables.length > 0);
    if (lowest < 0) throw new UserError("nothing to train: no layer carries an adapter");
    const parameter = (name: string) => {
      const found = this.parameters.get(name) ?? weights.get(name);
      if (!found) throw new Error(`no weight '${name}'`);
      return found;
    };
    const programs = new BlockPrograms(device, config, { save, checkpointing, parameter });
    const largest = largestMicroBatch && programs.rounding.tokens(largestMicroBatch);
    return {
      device,
      config,
      plan,
      checkpointing,
      programs,
      activations: new Activations(device, config, { checkpointing, lowest, largest }),
      attention: new AttentionInputs(device, config),
      parameter,
    };
  }

  async step(
    microBatches: readonly MicroBatch[],
    { lr, maxGradNorm }: { lr: number; maxGradNorm: number },
  ): Promise<StepResult> {
    const batches = microBatches.map((batch) => this.layOut(batch));
    const tokens = batches.reduce((n, b) => n + b.tokens, 0);
    const supervised = batches.reduce((n, b) => n + b.rows.length, 0);
    const [allTokens, supervisedTokens] = (await this.shared(tokens, supervised)) as [number, number];
    if (!supervisedTokens) {
      const rows = microBatches.flat().map((s) => s.index);
      throw new UserError(`no supervised token in rows ${rows.join(", ")}: nothing to learn from`);
    }
    let own = 0;
    for (const [i, batch] of batches.entries()) own += await this.micro(batch, i, 1 / supervisedTokens);
    await this.gradient.share(this.communicator);
    const [loss] = (await this.shared(own)) as [number];
    const gradNorm = await this.updater.norm(this.gradient.total);
    const applied = Number.isFinite(loss) && Number.isFinite(gradNorm);
    const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (gradNorm + 1e-6)) : 1;
    if (applied) this.updater.update(this.gradient.total, lr, clip);
    this.peak = (await this.model.device.memory()).peak;
    return { loss, gradNorm, tokens: allTokens, supervisedTokens, applied };
  }

  /** The sums of numbers over all processes. */
  private async shared(...values: number[]): Promise<number[]> {
    const vector = Float64Array.from(values);
    await this.communicator.sum(vector);
    return [...vector];
  }

  private layOut(batch: MicroBatch): BatchLayout {
    return layOut(batch, this.model.config.vocabSize, this.context.programs.rounding);
  }

  /** Forward and backward of one micro-batch; its gradient is added to those of the micro-batches before it. */
  private async micro(batch: BatchLayout, index: number, weight: number): Promise<number> {
    const target = this.gradient.target(index);
    const train: TrainPass = {
      gradient: (name) => target.views.get(name)!,
      seed: this.options.seed,
      labels: [this.updater.stepsDone, index * this.communicator.size + this.communicator.rank],
    };
    const limit = this.options.trainables.kind === "full" ? Math.max(16, batch.rows.length) : CHUNK;
    const losses = runPass(this.context, batch, headChunks(batch, weight, limit), train);
    this.gradient.add(index);
    return sumOf(await this.model.device.download(losses));
  }

  async evaluate(microBatch: MicroBatch): Promise<{ lossSum: number; supervisedTokens: number }> {
    const batch = this.layOut(microBatch);
    if (!batch.rows.length) return { lossSum: 0, supervisedTokens: 0 };
    const losses = runPass(this.context, batch, headChunks(batch, 1));
    return { lossSum: sumOf(await this.model.device.download(losses)), supervisedTokens: batch.rows.length };
  }

  /** Gradients of the mean loss over the micro-batches, by checkpoint name, without a step: for tests and analysis. */
  async gradientsOf(
    microBatches: readonly MicroBatch[],
  ): Promise<{ loss: number; gradients: Map<string, HostTensor> }> {
    const batches = microBatches.map((batch) => this.layOut(batch));
    const total = batches.reduce((n, b) => n + b.rows.length, 0);
    let loss = 0;
    for (const [i, batch] of batches.entries()) loss += await this.micro(batch, i, 1 / total);
    return { loss, gradients: await downloadAll(this.model.device, this.layout, this.gradient.total) };
  }

  state(): Promise<TrainerState> {
    return this.updater.state();
  }

  restore(state: TrainerState): Promise<void> {
    return this.updater.restore(state);
  }

  peakMemoryBytes(): number {
    return this.peak;
  }

  async dispose(): Promise<void> {
    this.context.programs.dispose();
    this.context.activations.dispose();
    this.context.attention.dispose();
    this.updater.dispose();
    this.gradient.dispose();
  }
}

const sumOf = (data: ArrayLike<number | bigint>): number => Array.from(data, Number).reduce((a, b) => a + b, 0);
