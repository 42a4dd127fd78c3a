import type { View } from "../../runtime/index.js";
import { type HostTensor, sizeOf } from "../../tensor/index.js";
import type { Activations } from "../activations.js";
import type { BatchLayout } from "../batch-layout.js";
import type { Communicator } from "../communicators/communicator.js";
import { downloadAll, type FlatVector, type Layout } from "../parameters.js";
import { Pass } from "../pass.js";
import type { PassContext, TrainPass } from "../pass-context.js";
import type { TrainerState } from "../trainer.js";
import { foundByLast, stageForward, toldByLast } from "./forward.js";
import { Inbox, Outbox, TAG } from "./messages.js";
import { inFlight, oneForwardOneBackward } from "./order.js";
import { isFirst, isLast, type PipelineOptions, type Stage, trainsIn } from "./stage.js";

/** What a step has for a stage to do. */
export interface StageWork {
  readonly layouts: readonly BatchLayout[];
  readonly train: (index: number) => TrainPass;
  /** Loss and backward of a micro-batch whose forward was run, which the last stage does. */
  readonly finish: (index: number, pass: Pass) => Promise<void>;
  /** Adds up a micro-batch's gradient, which is there, or zero where none of this stage's tensors has one. */
  readonly add: (index: number) => void;
}

/** How the tensors that all stages train lie together: of the parameters, and of each thing that the optimiser keeps. */
export interface WholeLayout {
  readonly parameters: Layout;
  readonly slots: ReadonlyMap<string, Layout>;
}

/** One rank's part in a pipeline. */
export class Pipeline {
  readonly stage: Stage;
  private readonly ranks: Communicator;
  private readonly stages: readonly Stage[];
  private readonly context: PassContext;
  private readonly whole: WholeLayout;
  /** For the micro-batches that are on their way at the same time. */
  private readonly activations: Activations[];

  constructor({ ranks, stages }: PipelineOptions, context: PassContext, whole: WholeLayout) {
    this.ranks = ranks;
    this.stages = stages;
    this.context = context;
    this.whole = whole;
    this.stage = context.stage;
    this.activations = [context.activations];
  }

  get isLast(): boolean {
    return isLast(this.stage);
  }

  /** Forward and backward of a step's micro-batches, as far as they are this stage's. */
  async run({ layouts, train, finish, add }: StageWork): Promise<void> {
    const { stage, context } = this;
    const { index, first, end } = stage;
    const { needsGradient, givesGradient } = context.flows;
    const [forwards, backwards] = [isFirst(stage) ? 0 : layouts.length, needsGradient ? layouts.length : 0];
    const above = new Inbox(this.ranks, index - 1, TAG.stream, forwards);
    const below = new Inbox(this.ranks, index + 1, TAG.gradient, backwards);
    const [down, up] = [this.outbox(1, TAG.stream), this.outbox(-1, TAG.gradient)];
    const failed = () => Promise.all([down.sent(), up.sent()]);
    const passes = new Map<number, Pass>();
    for (const turn of oneForwardOneBackward(stage, layouts.length)) {
      const batch = layouts[turn.index]!;
      const size = batch.padded * context.config.hiddenSize;
      if (turn.kind === "forward") {
        const pass = new Pass(this.slot(turn.index, layouts.length), batch, train(turn.index));
        passes.set(turn.index, pass);
        pass.forward(isFirst(stage) ? undefined : await above.take(size, failed()));
        if (!this.isLast) await down.put(this.values(pass.stream(end)));
        continue;
      }
      const pass = passes.get(turn.index)!;
      passes.delete(turn.index);
      if (this.isLast) await finish(turn.index, pass);
      else if (needsGradient) pass.backward(await below.take(size, failed()));
      add(turn.index);
      if (givesGradient) await up.put(this.values(pass.flowing(first)));
    }
    await failed();
  }

  /** The forward of a micro-batch through this stage, without dropout; its result goes on to the next stage. */
  readonly forward = (batch: BatchLayout): Promise<Pass> => stageForward(this.ranks, this.context, batch);

  /** As `foundByLast`. */
  ofLast<T>(layouts: readonly BatchLayout[], find: () => Promise<T>): Promise<T> {
    return foundByLast(this.ranks, this.context, layouts, find);
  }

  /** What the last stage has, which all stages are told. */
  told<T>(own: T): Promise<T> {
    return toldByLast(this.ranks, own);
  }

  /**
   * The L2 norm of the gradient over all stages. Each tensor's part is made by itself in float64 and the parts are added up in one
   * order, so that it is the same however many stages there are.
   */
  async norm(gradient: FlatVector, layout: Layout): Promise<number> {
    const own = await downloadAll(this.context.device, layout, gradient);
    const squares = Float64Array.from(this.whole.parameters.slots.keys(), (name) => squaredNorm(own.get(name)));
    await this.ranks.sum(squares);
    return Math.sqrt(squares.reduce((sum, part) => sum + part, 0));
  }

  /** The state of all stages, which every rank then has. All of them have to ask. */
  async gather(own: TrainerState): Promise<TrainerState> {
    const parameters = await this.gatherParameters(own.parameters);
    const slots = new Map<string, Map<string, HostTensor>>();
    for (const [name, layout] of this.whole.slots)
      slots.set(name, await this.joined(own.slots.get(name) ?? new Map(), layout));
    return { step: own.step, parameters, slots };
  }

  /** The same of the parameters alone. */
  gatherParameters(own: TrainerState["parameters"]): Promise<TrainerState["parameters"]> {
    return this.joined(own, this.whole.parameters);
  }

  dispose(): void {
    for (const own of this.activations.slice(1)) own.dispose();
  }

  /** Tensors of all stages in the order of one rank: each stage gives its own. */
  private async joined(own: ReadonlyMap<string, HostTensor>, { slots }: Layout): Promise<Map<string, HostTensor>> {
    const all = new Map<string, HostTensor>();
    for (const { name, shape } of slots.values()) {
      const from = this.stages.findIndex((stage) => trainsIn(stage, name));
      const data = new Float32Array(sizeOf(shape));
      data.set((own.get(name)?.data ?? []) as Float32Array);
      await this.ranks.broadcast(new Uint8Array(data.buffer), from);
      all.set(name, { dtype: "f32", shape, data });
    }
    return all;
  }

  /** What passes of micro-batch `index` work on: its own activations, as long as it is on its way. */
  private slot(index: number, count: number): PassContext {
    const slots = inFlight(this.stage, count);
    while (this.activations.length < slots) this.activations.push(this.context.newActivations());
    return { ...this.context, activations: this.activations[index % slots]! };
  }

  private outbox(step: 1 | -1, tag: number): Outbox {
    return new Outbox(this.ranks, this.stage.index + step, tag);
  }

  private values(view: View): Promise<ArrayBufferView> {
    return this.context.device.download(view);
  }
}

function squaredNorm(tensor: HostTensor | undefined): number {
  let sum = 0;
  const values = (tensor?.data ?? []) as Float32Array;
  for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!;
  return sum;
}
