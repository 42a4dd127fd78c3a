import { totalTokens } from "../data/batches.js";
import type { MicroBatch } from "../data/sample.js";
import type { SavePolicy } from "../graph/index.js";
import { weightShapes } from "../models/index.js";
import type { View } from "../runtime/index.js";
import { type HostTensor, sizeOf, UserError } from "../tensor/index.js";
import { withTensorsToBeFilled } from "./adapter-norms.js";
import { type BatchLayout, CHUNK, firstsOf, headChunks, TAUGHT_CHUNK } from "./batch-layout.js";
import type { Communicator } from "./communicators/communicator.js";
import { COMMUNICATORS } from "./communicators/index.js";
import { gatherValues } from "./communicators/values.js";
import { deal, type MayCut, type Piece } from "./deal.js";
import { GradientSum } from "./gradient-sum.js";
import { type Trainables, trainableShapes } from "./layer-plan.js";
import { createObjective } from "./objectives/index.js";
import { isTaught, type Objective, type Part, type TaughtObjective, type Totals } from "./objectives/objective.js";
import { createOptimizer, type OptimizerSettings } from "./optimizers/index.js";
import { loraPlus } from "./optimizers/loraplus.js";
import { downloadAll, type Layout, layoutOf, slotLayouts } from "./parameters.js";
import type { Pass } from "./pass.js";
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
import { Pipeline } from "./stages/pipeline.js";
import { type PipelineOptions, trainsIn } from "./stages/stage.js";
import { isKept, type Lesson, StreamTeacher, type Teacher } from "./teacher.js";
import type { StepOptions, StepResult, Trainer, TrainerState } from "./trainer.js";
import { Updater } from "./updater.js";
import {
  added,
  extremesOf,
  joined,
  learned,
  means,
  measure,
  type References,
  type Shared,
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
  /** The processes that share every step's micro-batches, of which each is given all. Default: this is the only one. */
  readonly communicator?: Communicator;
  /** A step is given this process's rows alone, and its gradient is not added up with others'; validation is still shared. Default false. */
  readonly stepsAlone?: boolean;
  /** The ranks that the base is spread over. Default: this one has all of it. */
  readonly pipeline?: PipelineOptions;
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

/** The total of the targets of kept texts, among an objective's own. */
const KEPT = "keptTargets";

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
  /** Who shares a step. */
  private readonly stepping: Communicator;
  private readonly layout: Layout;
  private readonly context: PassContext;
  private readonly updater: Updater;
  private readonly gradient: GradientSum;
  private readonly teacher: Teacher | undefined;
  private readonly pipeline: Pipeline | undefined;
  private peak = 0;

  constructor(model: TrainerModel, options: BlockTrainerOptions) {
    const { device, config } = model;
    const { trainables, optimizer, initial } = options;
    this.model = model;
    this.options = options;
    this.objective = options.objective ?? createObjective({ name: "sft" });
    this.references = options.references ?? new Map();
    this.communicator = options.communicator ?? COMMUNICATORS.local();
    this.stepping = options.stepsAlone ? COMMUNICATORS.local() : this.communicator;
    const { pipeline } = options;
    const stage = pipeline?.stages[pipeline.ranks.rank];
    const shapes = trainableShapes(config, trainables);
    const all = layoutOf(shapes, loraPlus(optimizer.loraplusLrRatio));
    const own = stage && new Map([...shapes].filter(([name]) => trainsIn(stage, name)));
    this.layout = own ? layoutOf(own, loraPlus(optimizer.loraplusLrRatio)) : all;
    this.trainableParameters = all.elements;
    const base = [...weightShapes(config).values()].reduce((n, shape) => n + sizeOf(shape), 0);
    this.totalParameters = base + (trainables.kind === "lora" ? all.elements : 0);
    if (all.elements === 0) throw new UserError("nothing to train: no layer carries an adapter");
    const whole = withTensorsToBeFilled(initial, this.layout, trainables);
    const mover = createOptimizer(optimizer);
    this.updater = new Updater(device, this.layout, mover, whole);
    this.gradient = new GradientSum(device, this.layout);
    this.context = createContext(model, { ...options, stage, adapter: (name) => this.parameters.get(name) });
    if (pipeline)
      this.pipeline = new Pipeline(pipeline, this.context, { parameters: all, slots: slotLayouts(all, mover) });
    this.context.norms.start(initial);
    if (options.keepWeight !== undefined || isTaught(this.objective))
      this.teacher = options.teacher ?? new StreamTeacher(model);
  }

  async step(microBatches: readonly MicroBatch[], { lr, maxGradNorm }: StepOptions): Promise<StepResult> {
    const { loss, metrics, counts } = await this.differentiate(microBatches);
    const { total } = this.gradient;
    const gradNorm = await (this.pipeline?.norm(total, this.layout) ?? this.updater.norm(total));
    const applied = Number.isFinite(loss) && Number.isFinite(gradNorm);
    const clip = maxGradNorm > 0 ? Math.min(1, maxGradNorm / (gradNorm + 1e-6)) : 1;
    if (applied) this.updater.update(this.gradient.total, lr, clip);
    parametersChanged(this.context);
    this.peak = (await this.model.device.memory()).peak;
    return { loss, metrics, gradNorm, ...counts, applied };
  }

  /** Loss and gradient of a step, over all processes: each computes its part of the micro-batches, which all of them know. */
  private async differentiate(microBatches: readonly MicroBatch[]) {
    const { stepping: communicator, objective } = this;
    const kept = this.options.keepWeight === undefined ? [] : microBatches.filter(isKept);
    const batches = [...microBatches.filter((batch) => !isKept(batch)), ...kept];
    const answers = batches.slice(0, batches.length - kept.length).map(learned);
    const tokens = microBatches.reduce((n, batch) => n + totalTokens(batch), 0);
    const supervisedTokens = this.targetsOf(answers);
    if (!supervisedTokens) {
      const rows = microBatches.flat().map((s) => s.index);
      throw new UserError(`no supervised token in rows ${rows.join(", ")}: nothing to learn from`);
    }
    const { rank, size } = communicator;
    const own = deal(batches, size, this.mayCut)[rank]!;
    const totals = added([
      ...answers.map((batch) => objective.count(batch)),
      ...(await this.measured(own)),
      { [KEPT]: this.targetsOf(kept) },
    ]);
    const before = (piece: Piece) => ({ before: this.rowsBefore(piece, batches) });
    const trainOf = (piece: Piece, i: number) => ({ ...this.trainPass(i, piece.of), ...before(piece) });
    const parts: Omit<Part, "weights">[] = [];
    if (this.pipeline) parts.push(...(await this.inStages(this.pipeline, own, trainOf, totals)));
    else
      for (const [i, piece] of own.entries()) {
        const train = trainOf(piece, i);
        parts.push(await (isKept(piece.batch) ? this.keep : this.micro).call(this, piece.batch, train, totals));
        this.gradient.add(i);
      }
    if (own.length === 0) this.gradient.clear();
    await this.gradient.share(communicator);
    const sum = { ...sumsOf(parts), extremes: parts.flatMap((part) => part.extremes ?? []) };
    const found = await gatherValues(communicator, this.pipeline ? await this.pipeline.told(sum) : sum);
    const { loss, sums, counts } = joined(found);
    const metrics = { ...means(sums, counts), ...extremesOf(found.flatMap(({ extremes }) => extremes)) };
    return { loss: loss.loss!, metrics, counts: { tokens, supervisedTokens } };
  }

  private targetsOf(batches: readonly MicroBatch[]): number {
    return batches.reduce((n, batch) => n + layOutFor(this.context, batch).rows.length, 0);
  }

  /** What is measured on a step before anything is learned from it, of each process. */
  private async measured(own: readonly Piece[]): Promise<Totals[]> {
    const { objective } = this;
    if (isTaught(objective) || !objective.measure) return [];
    const found: Totals[] = [];
    for (const { batch } of own) found.push(await measure(this, objective, batch, this.references));
    return gatherValues(this.stepping, added(found));
  }

  /** Where rows draw dropout or noise, samples whose beginning is computed once stay together, as one rank would draw for them. */
  private readonly mayCut: MayCut = (batch, at) => {
    if (this.objective.wholeSteps) return false;
    return !this.draws || firstsOf(learned(batch), this.context.sharedPrefix).has(batch[at]!);
  };

  /** Whether anything is drawn in a pass. */
  private get draws(): boolean {
    const { trainables, neftuneAlpha } = this.options;
    return Boolean(neftuneAlpha) || (trainables.kind === "lora" && trainables.lora.dropout > 0);
  }

  /** Rows of a piece's micro-batch that lie before it, where it matters. */
  private rowsBefore({ of, from }: Piece, batches: readonly MicroBatch[]): number {
    return from === 0 || !this.draws ? 0 : layOutFor(this.context, learned(batches[of]!.slice(0, from))).tokens;
  }

  /** Forward and backward of micro-batches, as far as they are this stage's; the last one's parts of the loss. */
  private async inStages(
    pipeline: Pipeline,
    own: readonly Piece[],
    trainOf: (piece: Piece, index: number) => TrainPass,
    totals: Totals,
  ): Promise<Omit<Part, "weights">[]> {
    const parts: Omit<Part, "weights">[] = [];
    const trains = own.map((piece, i) => ({ ...trainOf(piece, i), noise: this.options.neftuneAlpha }));
    await pipeline.run({
      layouts: own.map(({ batch }) => layOutFor(this.context, learned(batch))),
      train: (i) => trains[i]!,
      finish: async (i, pass) => void parts.push(await this.micro(own[i]!.batch, trains[i]!, totals, pass)),
      add: (i) => this.gradient.add(i),
    });
    return parts;
  }

  /** Forward and backward of one micro-batch; `given` is a pass whose forward is queued already. */
  private async micro(all: MicroBatch, plain: TrainPass, totals: Totals, given?: Pass): Promise<Omit<Part, "weights">> {
    const { objective, context } = this;
    const batch = learned(all);
    const train = { ...plain, noise: this.options.neftuneAlpha };
    if (isTaught(objective)) return this.teach(objective, batch, 1 / totals.tokens!, train);
    const { device } = this.model;
    const layout = layOutFor(context, batch);
    const limit = this.chunkOf(layout, CHUNK);
    if (objective.share) {
      const losses = runPass(context, layout, headChunks(layout, objective.share(totals), limit), train, given);
      return { loss: sumOf(await device.download(losses)), metrics: {} };
    }
    const pass = openPass(context, layout, headChunks(layout, 0, limit), train, objective.usesEntropies, given);
    const logps = logpsOf(batch, await device.download(pass.nll));
    const entropies = pass.entropy && byTarget(batch, await device.download(pass.entropy));
    const scored = scoredOf(batch, logps, this.references, entropies);
    const { weights, ...part } = objective.loss(scored, totals);
    const shares = Float64Array.from(weights.flatMap((own) => Array.from(own, (w) => -w)));
    pass.finish(headChunks(layout, shares, limit));
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

  /** The same of a micro-batch that is to stay as the base has it. */
  private async keep(batch: MicroBatch, train: TrainPass, totals: Totals): Promise<Omit<Part, "weights">> {
    const share = this.options.keepWeight! / totals[KEPT]!;
    const layout = layOutFor(this.context, batch);
    const { loss } = await this.compare(layout, batch, { settings: {} }, share, train);
    return { loss, metrics: { "keep/kl": [loss / share, layout.rows.length] } };
  }

  /** What a micro-batch writes to and draws from: the process's own number `index` of a step, and number `of` of all. */
  private trainPass(index: number, of: number): TrainPass {
    const target = this.gradient.target(index);
    return {
      gradient: (name) => target.views.get(name)!,
      seed: this.options.seed,
      labels: [this.updater.stepsDone, of],
    };
  }

  score(batch: MicroBatch): Promise<ArrayLike<number>[]> {
    return scoreBatch(this.context, batch, this.pipeline?.forward);
  }

  evaluate(batch: MicroBatch): Promise<{ lossSum: number; supervisedTokens: number }> {
    return evaluateBatch(this.context, batch, this.pipeline?.forward);
  }

  /** Of kept texts among them the mean KL(base || model) is a metric, and no part of the loss. */
  async validate(batches: readonly MicroBatch[]): Promise<Validation> {
    const found = await this.objectiveOver(this.shared(batches.filter((batch) => !isKept(batch))));
    const kept = this.options.keepWeight === undefined ? [] : batches.filter(isKept);
    if (kept.length === 0) return found;
    return { ...found, metrics: { ...found.metrics, "keep/kl": await this.divergence(this.shared(kept)) } };
  }

  private shared(all: readonly MicroBatch[]): Shared {
    const { communicator, objective } = this;
    const own = deal(all, communicator.size, () => !objective.wholeSteps)[communicator.rank]!;
    return { all, own: own.map(({ batch }) => batch), gather: (found) => gatherValues(communicator, found) };
  }

  private async objectiveOver(batches: Shared): Promise<Validation> {
    const { objective } = this;
    if (!isTaught(objective)) {
      const find = () => validate(this, objective, batches, this.references);
      const layouts = () => batches.own.map((batch) => layOutFor(this.context, learned(batch)));
      return this.pipeline?.ofLast(layouts(), find) ?? find();
    }
    const { tokens } = added(batches.all.map((batch) => objective.count(batch)));
    const parts: Omit<Part, "weights">[] = [];
    for (const batch of batches.own) parts.push(await this.teach(objective, batch, 1 / tokens!));
    const { loss, sums, counts } = joined(await batches.gather(sumsOf(parts)));
    return { loss: loss.loss!, metrics: means(sums, counts) };
  }

  /** Mean KL(base || model) of the targets of kept texts, in nats, without dropout. */
  private async divergence({ all, own, gather }: Shared): Promise<number> {
    let sum = 0;
    for (const batch of own)
      sum += (await this.compare(layOutFor(this.context, batch), batch, { settings: {} }, 1)).loss;
    return (await gather(sum)).reduce((a, b) => a + b, 0) / this.targetsOf(all);
  }

  /** Gradients of a step's loss, by published name, without the step: for tests and analysis. */
  async gradientsOf(
    microBatches: readonly MicroBatch[],
  ): Promise<{ loss: number; gradients: Map<string, HostTensor> }> {
    const { loss } = await this.differentiate(microBatches);
    return { loss, gradients: await downloadAll(this.model.device, this.layout, this.gradient.total) };
  }

  /** With a pipeline it is that of all stages, and every rank has to ask. */
  async state(): Promise<TrainerState> {
    const own = await this.updater.state();
    return this.pipeline?.gather(own) ?? own;
  }

  /** As `state`. */
  async values(): Promise<TrainerState["parameters"]> {
    const own = await this.updater.values();
    return this.pipeline?.gatherParameters(own) ?? own;
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
    this.pipeline?.dispose();
    await this.teacher?.dispose();
    this.updater.dispose();
    this.gradient.dispose();
  }
}
