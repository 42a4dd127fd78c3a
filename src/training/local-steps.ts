import { totalTokens } from "../data/batches.js";
import type { MicroBatch } from "../data/sample.js";
import { f32, type HostTensor, sizeOf } from "../tensor/index.js";
import type { Communicator } from "./communicators/communicator.js";
import { gatherValues } from "./communicators/values.js";
import { deal } from "./deal.js";
import { markedTokens } from "./objectives/sequences.js";
import type { StepOptions, StepResult, Trainer, TrainerState } from "./trainer.js";
import { learned, type Validation } from "./validation.js";

export interface LocalStepsOptions {
  /** The ranks that each take steps of their own. */
  readonly communicator: Communicator;
  /** Learning rate and momentum of the outer optimiser; the paper's are 0.7 and 0.9. */
  readonly outerLr: number;
  readonly outerMomentum: number;
}

type Tensors = Map<string, HostTensor>;

/** What all ranks have agreed on: the same, bit for bit, at each of them. */
interface Agreed {
  readonly parameters: Tensors;
  readonly velocity: Tensors;
}

/** Names of a state's slots beside a rank's own, which have the rank before them. */
const VELOCITY = "outer_momentum";
const STEPS = "applied_steps";
const slotOf = (rank: number, slot: string) => `rank_${rank}.${slot}`;

/**
 * Ranks that step by their own parts of a step's rows, each with an optimiser of its own, and now and then agree: DiLoCo (Douillard et
 * al. 2023, arXiv 2311.08105, algorithm 1). Where they meet, the mean over ranks of what each has moved by since they last met is taken as a
 * gradient by SGD with Nesterov momentum, as torch.optim.SGD has it: v = m v + d, p = p - lr (d + m v). All ranks go on from there, their
 * optimisers as they are. Nothing is sent between meetings.
 */
export class LocalSteps implements Trainer {
  private readonly own: Trainer;
  private readonly options: LocalStepsOptions;
  private agreed: Agreed | undefined;
  /** Since the last meeting: the losses of targets, how many targets, steps that were not applied. */
  private round = { loss: 0, targets: 0, skipped: 0 };

  /** `own` takes a rank's steps; what it is given is that rank's alone. */
  constructor(own: Trainer, options: LocalStepsOptions) {
    this.own = own;
    this.options = options;
  }

  get trainableParameters(): number {
    return this.own.trainableParameters;
  }

  get totalParameters(): number {
    return this.own.totalParameters;
  }

  /** A rank without a target in the step stays as it is. Loss and norm are this rank's; what ranks have in common is told when they meet. */
  async step(microBatches: readonly MicroBatch[], options: StepOptions): Promise<StepResult> {
    this.agreed ??= await this.begun();
    const tokens = microBatches.reduce((sum, batch) => sum + totalTokens(batch), 0);
    const supervisedTokens = targetsOf(microBatches);
    const own = this.shareOf(microBatches);
    const targets = targetsOf(own);
    const found = targets > 0 ? await this.own.step(own, options) : IDLE;
    const { loss, applied } = found;
    if (Number.isFinite(loss)) this.round.loss += loss * targets;
    this.round.targets += targets;
    if (!applied) this.round.skipped++;
    const met = options.meets === false ? {} : await this.meet();
    return { ...found, metrics: { ...found.metrics, ...met }, tokens, supervisedTokens };
  }

  /** This rank's part of a step. Who takes which part goes by the step's first row, so that the longest rows are not always the same rank's. */
  private shareOf(microBatches: readonly MicroBatch[]): MicroBatch[] {
    const { rank, size } = this.options.communicator;
    const turn = microBatches[0]?.[0]?.index ?? 0;
    return deal(microBatches, size)[(rank + turn) % size]!.map(({ batch }) => batch);
  }

  /** Has all ranks agree, and go on from there. */
  private async meet(): Promise<Record<string, number>> {
    const { communicator, outerLr: lr, outerMomentum: momentum } = this.options;
    const { parameters, velocity } = this.agreed!;
    const now = await this.own.state();
    const delta = joined(parameters);
    const [from, at] = [delta.slice(), joined(now.parameters as Tensors)];
    for (let i = 0; i < delta.length; i++) delta[i] = from[i]! - at[i]!;
    await communicator.sum(delta);
    const v = joined(velocity);
    for (let i = 0; i < delta.length; i++) {
      const d = delta[i]! / communicator.size;
      v[i] = momentum * v[i]! + d;
      from[i] = from[i]! - lr * (d + momentum * v[i]!);
    }
    this.agreed = { parameters: parted(from, parameters), velocity: parted(v, velocity) };
    await this.own.restore({ ...now, parameters: this.agreed.parameters });
    return this.told();
  }

  /** What the ranks have seen since they met last: the mean loss of all targets, and the steps that were not applied. */
  private async told(): Promise<Record<string, number>> {
    const all = await gatherValues(this.options.communicator, this.round);
    this.round = { loss: 0, targets: 0, skipped: 0 };
    const sum = (of: (one: typeof this.round) => number) => all.reduce((total, one) => total + of(one), 0);
    return {
      "round/loss": sum(({ loss }) => loss) / sum(({ targets }) => targets),
      "round/skipped": sum(({ skipped }) => skipped),
    };
  }

  validate(microBatches: readonly MicroBatch[]): Promise<Validation> {
    return this.own.validate(microBatches);
  }

  /** What is agreed on, and what the optimiser of each rank keeps. Every rank has to ask, where ranks have met. */
  async state(): Promise<TrainerState> {
    this.agreed ??= await this.begun();
    const { communicator } = this.options;
    const own = await this.own.state();
    const slots = new Map<string, ReadonlyMap<string, HostTensor>>([[VELOCITY, this.agreed.velocity]]);
    const steps = await gatherValues(communicator, own.step);
    slots.set(STEPS, new Map(steps.map((step, rank) => [`rank_${rank}`, f32([1], [step])])));
    for (const [slot, tensors] of own.slots) {
      const flat = joined(tensors as Tensors);
      const all = await communicator.gather(new Uint8Array(flat.buffer));
      for (const [rank, bytes] of all.entries())
        slots.set(slotOf(rank, slot), parted(new Float32Array(bytes.slice().buffer), tensors as Tensors));
    }
    return { step: own.step, parameters: this.agreed.parameters, slots };
  }

  async values(): Promise<TrainerState["parameters"]> {
    this.agreed ??= await this.begun();
    return this.agreed.parameters;
  }

  /** Goes on from a state of as many ranks, whose tensors may come in any order. */
  async restore({ parameters, slots }: TrainerState): Promise<void> {
    const { rank } = this.options.communicator;
    const { parameters: fresh, slots: kept } = await this.own.state();
    const step = Number(slots.get(STEPS)?.get(`rank_${rank}`)?.data[0] ?? 0);
    const own = new Map([...kept.keys()].map((slot) => [slot, slots.get(slotOf(rank, slot)) ?? new Map()]));
    await this.own.restore({ step, parameters, slots: own });
    const inOrder = (tensors: ReadonlyMap<string, HostTensor>) =>
      copied(new Map([...fresh.keys()].map((name) => [name, tensors.get(name)!])));
    this.agreed = { parameters: inOrder(parameters), velocity: inOrder(slots.get(VELOCITY)!) };
  }

  private async begun(): Promise<Agreed> {
    const parameters = await this.own.values();
    const zero = ({ shape }: HostTensor) => f32(shape, new Float32Array(sizeOf(shape)));
    return {
      parameters: copied(parameters),
      velocity: new Map([...parameters].map(([name, tensor]) => [name, zero(tensor)])),
    };
  }

  peakMemoryBytes(): number {
    return this.own.peakMemoryBytes();
  }

  dispose(): Promise<void> {
    return this.own.dispose();
  }
}

const IDLE = { loss: 0, metrics: {}, gradNorm: 0, applied: true };

const targetsOf = (batches: readonly MicroBatch[]): number => markedTokens(batches.flatMap(learned));

const copied = (tensors: ReadonlyMap<string, HostTensor>): Tensors =>
  new Map([...tensors].map(([name, { shape, data }]) => [name, f32(shape, (data as Float32Array).slice())]));

/** Tensors end to end. */
function joined(tensors: Tensors): Float32Array {
  const flat = new Float32Array([...tensors.values()].reduce((sum, { data }) => sum + data.length, 0));
  let at = 0;
  for (const { data } of tensors.values()) {
    flat.set(data as Float32Array, at);
    at += data.length;
  }
  return flat;
}

/** The same the other way round, in the shapes of `like`. */
function parted(flat: Float32Array, like: Tensors): Tensors {
  let at = 0;
  return new Map(
    [...like].map(([name, { shape }]) => {
      const data = flat.slice(at, (at += sizeOf(shape)));
      return [name, f32(shape, data)];
    }),
  );
}
