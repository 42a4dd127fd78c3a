import { kindOf } from "../adapters/index.js";
import { totalTokens } from "../data/batches.js";
import type { MicroBatch } from "../data/sample.js";
import type { SavePolicy } from "../graph/index.js";
import { weightShapes } from "../models/index.js";
import type { View } from "../runtime/index.js";
import { f32, type HostTensor, sizeOf, UserError } from "../tensor/index.js";
import { type BatchLayout, CHUNK, headChunks, TAUGHT_CHUNK } from "./batch-layout.js";
import type { Communicator } from "./communicators/communicator.js";
import { COMMUNICATORS } from "./communicators/index.js";
import { GradientSum } from "./gradient-sum.js";
import { type Trainables, trainableShapes } from "./layer-plan.js";
import { createObjective } from "./objectives/index.js";
import { isTaught, type Objective, type Part, type TaughtObjective, type Totals } from "./objectives/objective.js";
import { createOptimizer, type OptimizerSettings } from "./optimizers/index.js";
import { loraPlus } from "./optimizers/loraplus.js";
import { downloadAll, type Layout, layoutOf } from "./parameters.js";
import {
  createContext,
  disposeContext,
  type PassContext,
  parametersChanged,
  type TrainerModel,
  type TrainPass,
} from "./pass-context.js";
import { openPass, runPass, runTaught } from "./pass-runs.js";
import { byTarget, evaluateBatch, layOutFor, logpsOf, type ScoringModel, scoreBatch, sumOf } from "./scorer.js";
import { isKept, type Lesson, StreamTeacher, type Teacher } from "./teacher.js";
import type { StepResult, Trainer, TrainerState } from "./trainer.js";
import { Updater } from "./updater.js";
import {
  added,
  learned,
  means,
  measure,
  type References,
  scoredOf,
  sumsOf,
  type Validation,
  validate,
} from "./validation.js";

export type { TrainerModel } from "./pass-context.js";

export interface BlockTrainerOptions {
  readonly trainables: Trainables;
  /** Start values of the trainable tensors by published name; those that start at their weight's norms may be left out. */
  readonly initial: ReadonlyMap<string, HostTensor>;
  /** Factors that are taken out of the weights while training (`start_A`, `start_B`), where the adapter's start asks for it. */
  readonly fixed?: ReadonlyMap<string, HostTensor>;
  readonly optimizer: OptimizerSettings;
  /** Default: cross entropy of all targets. */
  readonly objective?: Objective;
  /** What the reference says of the answers, where the objective has one. */
  readonly references?: References;
  /** Whom an objective that learns from a teacher learns from. Default: the model without its adapter. It is disposed of with the trainer. */
  readonly teacher?: Teacher;
  /** With an adapter: what KL(base || model) on kept texts, a mean over their targets in a step, weighs in the loss. Default: there are none. */
  readonly keepWeight?: number;
  /** How this process adds up its steps with others'. Default: it is the only one. */
  readonly communicator?: Communicator;
  /** NEFTune's alpha: noise on the embeddings of what is learned, while training. Default: none. */
  readonly neftuneAlpha?: number | undefined;
  /** Run each block's forward again before its backward instead of keeping its activations. Default false. */
  readonly checkpointing?: boolean;
  /** What the programs of a block keep for their backward. Default "cheap". */
  readonly save?: SavePolicy;
  /** Tokens of the largest micro-batch to come, for which memory is set aside at once. Default: it is made as batches grow. */
  readonly largestMicroBatch?: number;
  readonly seed: number;
}

/** Trains a model block by block: one compiled forward and backward serve every layer, fed that layer's weights. */
export class BlockTrainer implements Trainer, ScoringModel {
  readonly trainableParameters: number;
  readonly totalParameters: number;
  /** The current trainable tensors on the device; the views change after every step. */
  get parameters(): ReadonlyMap<string, View> {
    return this.updater.parameters;
  }

  private readonly model: TrainerModel;
  private readonly options: BlockTrainerOptions;
  private readonly objective: Objective;
  private readonly references: References;
  private readonly communicator: Communicator;
  private readonly layout: Layout;
  private readonly context: PassContext;
  private readonly updater: Updater;
  private readonly gradient: GradientSum;
  private readonly teacher: Teacher | undefined;
  private peak = 0;

  constructor(model: TrainerModel, options: BlockTrainerOptions) {
    const { device, config } = model;
    const { trainables, optimizer, initial } = options;
    this.model = model;
    this.options = options;
    this.objective = options.objective ?? createObjective({ name: "sft" });
    this.references = options.references ?? new Map();
    this.communicator = options.communicator ?? COMMUNICATORS.local();
    this.layout = layoutOf(trainableShapes(config, trainables), loraPlus(optimizer.loraplusLrRatio));
    this.trainableParameters = this.layout.elements;
    const base = [...weightShapes(config).values()].reduce((n, shape) => n + sizeOf(shape), 0);
    this.totalParameters = base + (trainables.kind === "lora" ? this.layout.elements : 0);
    if (this.layout.elements === 0) throw new UserError("nothing to train: no layer carries an adapter");
    const whole = withTensorsToBeFilled(initial, this.layout, trainables);
    this.updater = new Updater(device, this.layout, createOptimizer(optimizer), whole);
    this.gradient = new GradientSum(device, this.layout);
    this.context = createContext(model, { ...options, adapter: (name) => this.parameters.get(name) });
    this.context.norms.start(initial);
    if (options.keepWeight !== undefined || isTaught(this.objective))
      this.teacher = options.teacher ?? new StreamTeacher(model);
  }

  async step(
    microBatches: readonly MicroBatch[],
    { lr, maxGradNorm }: { lr: number; maxGradNorm: number },
  ): Promise<StepResult> {
    const { loss, metrics, counts } = await this.differentiate(microBatches);
    const gradNorm = await this.updater.norm(this.gradient.total);
    const applied = Number.isFinite(loss) && Number.isFinite(gradNorm);
    const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (gradNorm + 1e-6)) : 1;
    if (applied) this.updater.update(this.gradient.total, lr, clip);
    parametersChanged(this.context);
    this.peak = (await this.model.device.memory()).peak;
    return { loss, metrics, gradNorm, ...counts, applied };
  }

  /** Loss and gradient of a step, over all processes. */
  private async differentiate(microBatches: readonly MicroBatch[]) {
    const batches = microBatches.filter((batch) => !isKept(batch)).map(learned);
    const tokens = microBatches.reduce((n, batch) => n + totalTokens(batch), 0);
    const supervised = batches.reduce((n, batch) => n + layOutFor(this.context, batch).rows.length, 0);
    const counts = (await this.shared({ tokens, supervisedTokens: supervised })) as Pick<
      StepResult,
      "tokens" | "supervisedTokens"
    >;
    if (!counts.supervisedTokens) {
      const rows = microBatches.flat().map((s) => s.index);
      throw new UserError(`no supervised token in rows ${rows.join(", ")}: nothing to learn from`);
    }
    const totals = await this.shared(added(batches.map((batch) => this.objective.count(batch))));
    const before: Totals[] = [];
    for (const batch of microBatches) before.push(await measure(this, this.objective, batch, this.references));
    const all = { ...totals, ...(await this.shared(added(before))) };
    const parts: Omit<Part, "weights">[] = [];
    for (const [i, batch] of batches.entries()) parts.push(await this.micro(batch, i, all));
    if (this.options.keepWeight !== undefined)
      parts.push(...(await this.keep(microBatches.filter(isKept), batches.length)));
    await this.gradient.share(this.communicator);
    const own = sumsOf(parts);
    const { loss } = await this.shared(own.loss);
    const metrics = means(await this.shared(own.sums), await this.shared(own.counts));
    return { loss: loss!, metrics: { ...metrics, ...(await this.extremes(parts)) }, counts };
  }

  /** Totals added up over all processes, which all have the same names in the same order. */
  private async shared(totals: Totals): Promise<Totals> {
    const names = Object.keys(totals);
    const vector = Float64Array.from(names, (name) => totals[name]!);
    await this.communicator.sum(vector);
    return Object.fromEntries(names.map((name, i) => [name, vector[i]!]));
  }

  /** The smallest and largest of what micro-batches have, over all processes, each of which has the same names; what is not finite is none. */
  private async extremes(parts: readonly Pick<Part, "extremes">[]): Promise<Record<string, number>> {
    const { rank, size } = this.communicator;
    const found: Record<string, number> = {};
    for (const [end, pick] of [
      ["least", Math.min],
      ["most", Math.max],
    ] as const) {
      for (const name of new Set(parts.flatMap(({ extremes }) => Object.keys(extremes?.[end] ?? {})))) {
        const own = parts.flatMap(({ extremes }) => extremes?.[end][name] ?? []).filter(Number.isFinite);
        const each = new Float64Array(2 * size); // of every process its value, and whether it has one
        if (own.length > 0) [each[2 * rank], each[2 * rank + 1]] = [pick(...own), 1];
        await this.communicator.sum(each);
        const all = Array.from({ length: size }, (_, i) => i).filter((i) => each[2 * i + 1]! > 0);
        if (all.length > 0) found[name] = pick(...all.map((i) => each[2 * i]!));
      }
    }
    return found;
  }

  /** Forward and backward of one micro-batch; its gradient is added to those of the micro-batches before it. */
  private async micro(batch: MicroBatch, index: number, totals: Totals): Promise<Omit<Part, "weights">> {
    const { objective, context } = this;
    const train = { ...this.trainPass(index), noise: this.options.neftuneAlpha };
    if (isTaught(objective)) {
      const part = await this.teach(objective, batch, 1 / totals.tokens!, train);
      this.gradient.add(index);
      return part;
    }
    const { device } = this.model;
    const layout = layOutFor(context, batch);
    const limit = this.chunkOf(layout, CHUNK);
    if (objective.share) {
      const losses = runPass(context, layout, headChunks(layout, objective.share(totals), limit), train);
      this.gradient.add(index);
      return { loss: sumOf(await device.download(losses)), metrics: {} };
    }
    const pass = openPass(context, layout, headChunks(layout, 0, limit), train, objective.usesEntropies);
    const logps = logpsOf(batch, await device.download(pass.nll));
    const entropies = pass.entropy && byTarget(batch, await device.download(pass.entropy));
    const scored = scoredOf(batch, logps, this.references, entropies);
    const { weights, ...part } = objective.loss(scored, totals);
    const shares = Float64Array.from(weights.flatMap((own) => Array.from(own, (w) => -w)));
    pass.finish(headChunks(layout, shares, limit));
    this.gradient.add(index);
    return part;
  }

  /** Rows of the head at once. Where its weight is trained, the gradient of that is made in one piece. */
  private chunkOf({ rows }: BatchLayout, limit: number): number {
    return this.context.outer.head?.head ? Math.max(16, rows.length) : limit;
  }

  /** How far a micro-batch is from the teacher, with `share` the weight of a target, and in training the backward. */
  private async teach(
    { lesson }: TaughtObjective,
    batch: MicroBatch,
    share: number,
    train?: TrainPass,
  ): Promise<Omit<Part, "weights">> {
    const layout = layOutFor(this.context, batch);
    const { loss, entropy } = await this.compare(layout, batch, { settings: lesson, entropy: true }, share, train);
    return { loss, metrics: { entropy: [entropy / share, layout.rows.length] } };
  }

  /** Weighted sums of the divergences from the teacher and of the entropies of a micro-batch's targets. */
  private async compare(
    layout: BatchLayout,
    batch: MicroBatch,
    asked: Pick<Lesson, "settings" | "entropy">,
    share: number,
    train?: TrainPass,
  ): Promise<{ loss: number; entropy: number }> {
    const { teacher, context } = this;
    const lesson = { ...asked, told: await teacher!.tell(batch), teacher: teacher!.head };
    const chunks = headChunks(layout, share, this.chunkOf(layout, TAUGHT_CHUNK));
    const found = await this.model.device.download(runTaught(context, layout, chunks, lesson, train));
    const sum = (from: number) => sumOf(Array.from({ length: chunks.count }, (_, i) => found[from + i]!));
    return { loss: sum(0), entropy: sum(chunks.count) };
  }

  /** The same of micro-batches that are to stay as the base has them; the first is micro-batch `first` of the step. */
  private async keep(batches: readonly MicroBatch[], first: number): Promise<Omit<Part, "weights">[]> {
    const layouts = batches.map((batch) => layOutFor(this.context, batch));
    const { targets } = await this.shared({ targets: layouts.reduce((sum, { rows }) => sum + rows.length, 0) });
    const share = this.options.keepWeight! / targets!;
    const parts: Omit<Part, "weights">[] = [];
    for (const [i, layout] of layouts.entries()) {
      const { loss } = await this.compare(layout, batches[i]!, { settings: {} }, share, this.trainPass(first + i));
      this.gradient.add(first + i);
      parts.push({ loss, metrics: { "keep/kl": [loss / share, layout.rows.length] } });
    }
    return parts;
  }

  /** What micro-batch `index` of a step writes to and draws from. */
  private trainPass(index: number): TrainPass {
    const { size, rank } = this.communicator;
    const target = this.gradient.target(index);
    return {
      gradient: (name) => target.views.get(name)!,
      seed: this.options.seed,
      labels: [this.updater.stepsDone, index * size + rank],
    };
  }

  score(batch: MicroBatch): Promise<ArrayLike<number>[]> {
    return scoreBatch(this.context, batch);
  }

  evaluate(batch: MicroBatch): Promise<{ lossSum: number; supervisedTokens: number }> {
    return evaluateBatch(this.context, batch);
  }

  /** Of kept texts among them the mean KL(base || model) is a metric, and no part of the loss. */
  async validate(batches: readonly MicroBatch[]): Promise<Validation> {
    const own = batches.filter((batch) => !isKept(batch));
    const kept = this.options.keepWeight === undefined ? [] : batches.filter(isKept);
    const found = await this.objectiveOver(own);
    if (kept.length === 0) return found;
    return { ...found, metrics: { ...found.metrics, "keep/kl": await this.divergence(kept) } };
  }

  private async objectiveOver(batches: readonly MicroBatch[]): Promise<Validation> {
    const { objective } = this;
    if (!isTaught(objective)) return validate(this, objective, batches, this.references);
    const { tokens } = added(batches.map((batch) => objective.count(batch)));
    const parts: Omit<Part, "weights">[] = [];
    for (const batch of batches) parts.push(await this.teach(objective, batch, 1 / tokens!));
    const { loss, sums, counts } = sumsOf(parts);
    return { loss: loss.loss!, metrics: means(sums, counts) };
  }

  /** Mean KL(base || model) of the targets of kept texts, in nats, without dropout. */
  private async divergence(batches: readonly MicroBatch[]): Promise<number> {
    let [sum, targets] = [0, 0];
    for (const batch of batches) {
      const layout = layOutFor(this.context, batch);
      sum += (await this.compare(layout, batch, { settings: {} }, 1)).loss;
      targets += layout.rows.length;
    }
    return sum / targets;
  }

  /** Gradients of a step's loss, by published name, without the step: for tests and analysis. */
  async gradientsOf(
    microBatches: readonly MicroBatch[],
  ): Promise<{ loss: number; gradients: Map<string, HostTensor> }> {
    const { loss } = await this.differentiate(microBatches);
    return { loss, gradients: await downloadAll(this.model.device, this.layout, this.gradient.total) };
  }

  state(): Promise<TrainerState> {
    return this.updater.state();
  }

  restore(state: TrainerState): Promise<void> {
    parametersChanged(this.context);
    return this.updater.restore(state);
  }

  peakMemoryBytes(): number {
    return this.peak;
  }

  async dispose(): Promise<void> {
    disposeContext(this.context);
    await this.teacher?.dispose();
    this.updater.dispose();
    this.gradient.dispose();
  }
}

/** Start values with zeros for tensors that start at the norms of their weights and are not given. */
function withTensorsToBeFilled(
  initial: ReadonlyMap<string, HostTensor>,
  { slots }: Layout,
  trainables: Trainables,
): ReadonlyMap<string, HostTensor> {
  const ending = trainables.kind === "lora" ? kindOf(trainables.lora.kind).startsAtNorms : undefined;
  if (ending === undefined) return initial;
  const missing = [...slots.values()].filter(({ name }) => name.endsWith(`.${ending}`) && !initial.has(name));
  return new Map([
    ...initial,
    ...missing.map(({ name, shape }) => [name, f32(shape, new Float32Array(sizeOf(shape)))] as const),
  ]);
}
