import type { Fn } from "../graph/index.js";
import { type Device, type Program, tensor, type View, view } from "../runtime/index.js";
import { BYTES, type HostTensor, type Shape } from "../tensor/index.js";
import { PIECE, ROW, squaredNorms } from "./flat.js";
import type { Optimizer } from "./optimizers/optimizer.js";
import {
  downloadAll,
  type FlatVector,
  flatVector,
  type Group,
  groupAt,
  type Layout,
  slotLayouts,
  uploadAll,
} from "./parameters.js";
import type { TrainerState } from "./trainer.js";

/** A vector and the one that the next step writes it to; they take turns. */
type Pair = [FlatVector, FlatVector];

/** What an optimiser keeps under one name: for each tensor that it keeps something of, in the order of the parameters. */
interface Kept {
  readonly layout: Layout;
  readonly pair: Pair;
}

/** What one run of the optimiser's program moves. */
interface Part {
  readonly program: Program;
  readonly group: Group;
  /** Its part of a vector. */
  readonly of: (vector: FlatVector) => View;
  /** The names of what the optimiser keeps of it. */
  readonly slots: readonly string[];
}

/** A stretch of flat vectors in pieces that one run goes over. */
function pieces({ offset, length }: Pick<Group, "offset" | "length">): Pick<Group, "offset" | "length">[] {
  const count = Math.ceil(length / PIECE);
  return Array.from({ length: count }, (_, i) => ({
    offset: offset + i * PIECE,
    length: Math.min(PIECE, length - i * PIECE),
  }));
}

/** The trainable parameters on a device, and an optimiser that moves them. */
export class Updater {
  /** Steps applied so far (Adam's t). */
  stepsDone = 0;
  private readonly device: Device;
  private readonly layout: Layout;
  private readonly optimizer: Optimizer;
  private readonly own: Pair;
  private readonly kept: ReadonlyMap<string, Kept>;
  private readonly parts: readonly Part[];
  private readonly scalars = new Map<string, View>();
  private readonly programs = new Map<string, Program>();
  private readonly normParts: readonly Pick<Group, "offset" | "length">[];
  /** The squared norm of each row of a gradient. */
  private readonly norms: View;

  constructor(device: Device, layout: Layout, optimizer: Optimizer, initial: ReadonlyMap<string, HostTensor>) {
    this.device = device;
    this.layout = layout;
    this.optimizer = optimizer;
    const pairOf = (of: Layout): Pair => [flatVector(device, of), flatVector(device, of)];
    this.own = pairOf(layout);
    this.kept = new Map(
      [...slotLayouts(layout, optimizer)].map(([name, of]) => [name, { layout: of, pair: pairOf(of) }]),
    );
    uploadAll(device, layout, this.own[0], initial);
    this.parts = optimizer.byTensor ? this.tensors() : this.groups();
    this.normParts = pieces({ offset: 0, length: layout.length });
    this.norms = tensor(device, "f32", [layout.length / ROW]);
  }

  /** The current trainable tensors; the views change after every step. */
  get parameters(): ReadonlyMap<string, View> {
    return this.own[0].views;
  }

  /** The L2 norm of a gradient. */
  async norm({ all }: FlatVector): Promise<number> {
    for (const { offset, length } of this.normParts) {
      const program = this.program(`norms ${length}`, () => squaredNorms(length));
      const grad = view(all.buffer, "f32", [length], offset * BYTES.f32);
      const squares = view(this.norms.buffer, "f32", [length / ROW], (offset / ROW) * BYTES.f32);
      this.device.run(program, { grad }, { squared_norms: squares });
    }
    const squares = (await this.device.download(this.norms)) as Float32Array;
    return Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
  }

  /** One step of the optimiser, with the gradient multiplied by `clip`. */
  update(gradient: FlatVector, lr: number, clip: number): void {
    this.stepsDone++;
    for (const group of this.layout.groups) {
      const own = this.optimizer.scalars(lr * group.rate, this.stepsDone, group.decays);
      for (const [name, value] of Object.entries({ clip, ...own }))
        this.device.upload(this.scalar(name, group), Float32Array.of(value));
    }
    for (const part of this.parts) this.move(part, gradient);
    for (const pair of [this.own, ...[...this.kept.values()].map((kept) => kept.pair)]) pair.reverse();
  }

  private move({ program, group, of, slots }: Part, gradient: FlatVector): void {
    const inputs: Record<string, View> = { param: of(this.own[0]), grad: of(gradient) };
    const results: Record<string, View> = { new_param: of(this.own[1]) };
    for (const name of slots) {
      const [before, after] = this.kept.get(name)!.pair;
      inputs[name] = of(before);
      results[`new_${name}`] = of(after);
    }
    for (const name of program.inputs) inputs[name] ??= this.scalar(name, group);
    this.device.run(program, inputs, results);
  }

  /** Each group of tensors as one vector, in pieces. */
  private groups(): Part[] {
    return this.layout.groups.flatMap((group) =>
      pieces(group).map(({ offset, length }) => ({
        group,
        program: this.step([length]),
        of: ({ all }) => view(all.buffer, "f32", [length], offset * BYTES.f32),
        slots: Object.keys(this.optimizer.slots([length])),
      })),
    );
  }

  private tensors(): Part[] {
    return [...this.layout.slots.values()].map(({ name, shape, offset }) => ({
      group: groupAt(this.layout.groups, offset),
      program: this.step(shape),
      of: ({ views }) => views.get(name)!,
      slots: Object.keys(this.optimizer.slots(shape)),
    }));
  }

  private step(shape: Shape): Program {
    return this.program(`step ${shape.join()}`, () => this.optimizer.step(shape));
  }

  private program(key: string, define: () => Fn): Program {
    if (!this.programs.has(key)) this.programs.set(key, this.device.compile(define()));
    return this.programs.get(key)!;
  }

  private scalar(name: string, { offset }: Group): View {
    const key = `${name} ${offset}`;
    if (!this.scalars.has(key)) this.scalars.set(key, tensor(this.device, "f32", [1]));
    return this.scalars.get(key)!;
  }

  /** The parameters, on the host. */
  values(): Promise<TrainerState["parameters"]> {
    return downloadAll(this.device, this.layout, this.own[0]);
  }

  async state(): Promise<TrainerState> {
    const parameters = await this.values();
    const slots = new Map<string, ReadonlyMap<string, HostTensor>>();
    for (const [name, { layout, pair }] of this.kept) slots.set(name, await downloadAll(this.device, layout, pair[0]));
    return { step: this.stepsDone, parameters, slots };
  }

  async restore(state: TrainerState): Promise<void> {
    uploadAll(this.device, this.layout, this.own[0], state.parameters);
    for (const [name, { layout, pair }] of this.kept)
      uploadAll(this.device, layout, pair[0], state.slots.get(name) ?? new Map());
    this.stepsDone = state.step;
    await this.device.flush();
  }

  dispose(): void {
    for (const program of this.programs.values()) this.device.release(program);
    const vectors = [this.own, ...[...this.kept.values()].map(({ pair }) => pair)].flat().map(({ all }) => all);
    for (const { buffer } of [...vectors, ...this.scalars.values(), this.norms]) this.device.free(buffer);
  }
}
