import { kindOf } from "../adapters/index.js";
import type { MicroBatch } from "../data/sample.js";
import type { SavePolicy } from "../graph/index.js";
import { type ModelConfig, weightShapes } from "../models/index.js";
import { type Device, type Program, tensor, type View } from "../runtime/index.js";
import { type HostTensor, sizeOf, UserError } from "../tensor/index.js";
import { Activations } from "./activations.js";
import { type AdamWOptions, accumulate, adamW, adamWScalars, squaredNorm } from "./adamw.js";
import { AdapterNorms } from "./adapter-norms.js";
import { AttentionInputs } from "./attention-inputs.js";
import { type BatchLayout, CHUNK, headChunks, layOut } from "./batch-layout.js";
import { BlockPrograms } from "./block-programs.js";
import { planLayers, type Trainables, trainableShapes } from "./layer-plan.js";
import { downloadAll, type FlatVector, flatVector, type Layout, layoutOf, uploadAll } from "./parameters.js";
import { type PassContext, runPass, type TrainPass } from "./pass.js";
import type { StepResult, Trainer, TrainerState } from "./trainer.js";

/** A model on a device: its frozen weights by checkpoint name (none in a full fine-tune). */
export interface TrainerModel {
  readonly device: Device;
  readonly config: ModelConfig;
  readonly weights: ReadonlyMap<string, View>;
}

export interface BlockTrainerOptions {
  readonly trainables: Trainables;
  /** Start values of the trainable tensors by checkpoint name; those that start at their weight's norms may be left out. */
  readonly initial: ReadonlyMap<string, HostTensor>;
  /** Factors that are taken out of the weights while training (`start_A`, `start_B`), where the adapter's start asks for it. */
  readonly fixed?: ReadonlyMap<string, HostTensor>;
  readonly optimizer: AdamWOptions;
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
    return this.vectors.parameters[0].views;
  }

  private readonly model: TrainerModel;
  private readonly options: BlockTrainerOptions;
  private readonly layout: Layout;
  private readonly context: PassContext;
  private readonly norms: AdapterNorms;
  private readonly fixed: ReadonlyMap<string, View>;
  private readonly vectors: Record<"parameters" | "first" | "second", [FlatVector, FlatVector]>;
  private readonly gradients: FlatVector[];
  private readonly scalars: Record<string, View> = {};
  private readonly flat: { norm: Program; adamw: Program; accumulate?: Program };
  private readonly normView: View;
  private stepsDone = 0;
  private peak = 0;

  constructor(model: TrainerModel, options: BlockTrainerOptions) {
    const { device, config } = model;
    this.model = model;
    this.options = options;
    this.layout = layoutOf(trainableShapes(config, options.trainables));
    this.trainableParameters = this.layout.elements;
    const base = [...weightShapes(config).values()].reduce((n, shape) => n + sizeOf(shape), 0);
    this.totalParameters = base + (options.trainables.kind === "lora" ? this.layout.elements : 0);
    const pair = (): [FlatVector, FlatVector] => [flatVector(device, this.layout), flatVector(device, this.layout)];
    this.vectors = { parameters: pair(), first: pair(), second: pair() };
    this.gradients = [flatVector(device, this.layout)];
    const { initial, fixed = new Map<string, HostTensor>() } = options;
    uploadAll(device, this.layout, this.vectors.parameters[0], initial, startsAtNorms(options.trainables));
    this.fixed = new Map([...fixed].map(([name, given]) => [name, uploaded(device, given)]));
    const n = this.layout.length;
    this.flat = { norm: device.compile(squaredNorm(n)), adamw: device.compile(adamW(n, options.optimizer)) };
    this.normView = tensor(device, "f32", [1]);
    this.context = this.makeContext();
    const { plan, parameter } = this.context;
    this.norms = new AdapterNorms(device, config, plan, parameter);
    this.norms.start(initial);
  }

  private makeContext(): PassContext {
    const { device, config, weights } = this.model;
    const { checkpointing = false, save = "cheap", trainables, largestMicroBatch } = this.options;
    const plan = planLayers(config, trainables);
    const lowest = plan.findIndex((p) => p.needsX || p.inputTrainables.length > 0 || p.outputTrainables.length > 0);
    if (lowest < 0) throw new UserError("nothing to train: no layer carries an adapter");
    const parameter = (name: string) => {
      const found = this.parameters.get(name) ?? weights.get(name) ?? this.norms.get(name) ?? this.fixed.get(name);
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
    const supervisedTokens = batches.reduce((n, b) => n + b.rows.length, 0);
    if (!supervisedTokens) {
      const rows = microBatches.flat().map((s) => s.index);
      throw new UserError(`no supervised token in rows ${rows.join(", ")}: nothing to learn from`);
    }
    let loss = 0;
    for (const [i, batch] of batches.entries()) loss += await this.micro(batch, i, 1 / supervisedTokens);
    const gradNorm = await this.gradientNorm();
    const applied = Number.isFinite(loss) && Number.isFinite(gradNorm);
    if (applied) this.update(lr, maxGradNorm > 0 ? Math.min(1, maxGradNorm / (gradNorm + 1e-6)) : 1);
    this.peak = (await this.model.device.memory()).peak;
    return { loss, gradNorm, tokens, supervisedTokens, applied };
  }

  private layOut(batch: MicroBatch): BatchLayout {
    return layOut(batch, this.model.config.vocabSize, this.context.programs.rounding);
  }

  /** Forward and backward of one micro-batch; its gradient is added to those of the micro-batches before it. */
  private async micro(batch: BatchLayout, index: number, weight: number): Promise<number> {
    const { device } = this.model;
    const target = index === 0 ? this.gradients[0]! : this.spareGradients(1);
    const train: TrainPass = {
      gradient: (name) => target.views.get(name)!,
      seed: this.options.seed,
      labels: [this.stepsDone, index],
    };
    this.norms.refresh();
    const limit = this.options.trainables.kind === "full" ? Math.max(16, batch.rows.length) : CHUNK;
    const losses = runPass(this.context, batch, headChunks(batch, weight, limit), train);
    if (index > 0) {
      const sum = this.spareGradients(2);
      this.flat.accumulate ??= device.compile(accumulate(this.layout.length));
      device.run(this.flat.accumulate, { a: this.gradients[0]!.all, b: target.all }, { sum: sum.all });
      [this.gradients[0], this.gradients[2]] = [sum, this.gradients[0]!];
    }
    return sumOf(await device.download(losses));
  }

  private spareGradients(index: number): FlatVector {
    while (this.gradients.length <= index) this.gradients.push(flatVector(this.model.device, this.layout));
    return this.gradients[index]!;
  }

  private async gradientNorm(): Promise<number> {
    const { device } = this.model;
    device.run(this.flat.norm, { grad: this.gradients[0]!.all }, { squared_norm: this.normView });
    return Math.sqrt(Number((await device.download(this.normView))[0]));
  }

  private update(lr: number, clip: number): void {
    const { device } = this.model;
    this.stepsDone++;
    for (const [name, value] of Object.entries(adamWScalars(this.options.optimizer, lr, this.stepsDone, clip))) {
      const at = (this.scalars[name] ??= tensor(device, "f32", [1]));
      device.upload(at, Float32Array.of(value));
    }
    const { parameters: p, first: m, second: v } = this.vectors;
    const inputs = { param: p[0].all, grad: this.gradients[0]!.all, m: m[0].all, v: v[0].all, ...this.scalars };
    device.run(this.flat.adamw, inputs, { new_param: p[1].all, new_m: m[1].all, new_v: v[1].all });
    for (const pair of Object.values(this.vectors)) pair.reverse();
    this.norms.changed();
  }

  async evaluate(microBatch: MicroBatch): Promise<{ lossSum: number; supervisedTokens: number }> {
    const batch = this.layOut(microBatch);
    if (!batch.rows.length) return { lossSum: 0, supervisedTokens: 0 };
    this.norms.refresh();
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
    return { loss, gradients: await downloadAll(this.model.device, this.layout, this.gradients[0]!) };
  }

  async state(): Promise<TrainerState> {
    const read = (pair: [FlatVector, FlatVector]) => downloadAll(this.model.device, this.layout, pair[0]);
    const { parameters, first, second } = this.vectors;
    return {
      step: this.stepsDone,
      parameters: await read(parameters),
      firstMoments: await read(first),
      secondMoments: await read(second),
    };
  }

  async restore(state: TrainerState): Promise<void> {
    const { device } = this.model;
    uploadAll(device, this.layout, this.vectors.parameters[0], state.parameters);
    uploadAll(device, this.layout, this.vectors.first[0], state.firstMoments);
    uploadAll(device, this.layout, this.vectors.second[0], state.secondMoments);
    this.stepsDone = state.step;
    this.norms.changed();
    await device.flush();
  }

  peakMemoryBytes(): number {
    return this.peak;
  }

  async dispose(): Promise<void> {
    const { device } = this.model;
    this.context.programs.dispose();
    this.context.activations.dispose();
    this.context.attention.dispose();
    this.norms.dispose();
    for (const program of Object.values(this.flat)) device.release(program);
    const vectors = [...Object.values(this.vectors).flat(), ...this.gradients].map((v) => v.all);
    for (const v of [...vectors, ...this.fixed.values(), ...Object.values(this.scalars), this.normView])
      device.free(v.buffer);
  }
}

/** The endings of tensors that start at the norms of their weights. */
function startsAtNorms(trainables: Trainables): string | undefined {
  return trainables.kind === "lora" ? kindOf(trainables.lora.kind).startsAtNorms : undefined;
}

function uploaded(device: Device, { shape, data }: HostTensor): View {
  const view = tensor(device, "f32", shape);
  device.upload(view, (data as Float32Array).slice());
  return view;
}

const sumOf = (data: ArrayLike<number | bigint>): number => Array.from(data, Number).reduce((a, b) => a + b, 0);
