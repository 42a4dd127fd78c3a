import { type Device, type Program, tensor, type View } from "../runtime/index.js";
import type { HostTensor } from "../tensor/index.js";
import { squaredNorm } from "./flat.js";
import type { Optimizer } from "./optimizers/optimizer.js";
import { downloadAll, type FlatVector, flatVector, type Layout, uploadAll } from "./parameters.js";
import type { TrainerState } from "./trainer.js";

/** A vector and the one that the next step writes it to; they take turns. */
type Pair = [FlatVector, FlatVector];

/** The trainable parameters on a device, and an optimiser that moves them. */
export class Updater {
  /** Steps applied so far (Adam's t). */
  stepsDone = 0;
  private readonly device: Device;
  private readonly layout: Layout;
  private readonly optimizer: Optimizer;
  private readonly own: Pair;
  private readonly slots: ReadonlyMap<string, Pair>;
  private readonly scalars = new Map<string, View>();
  private readonly programs: Record<"norm" | "step", Program>;
  private readonly normView: View;

  constructor(device: Device, layout: Layout, optimizer: Optimizer, initial: ReadonlyMap<string, HostTensor>) {
    this.device = device;
    this.layout = layout;
    this.optimizer = optimizer;
    const pair = (): Pair => [flatVector(device, layout), flatVector(device, layout)];
    this.own = pair();
    this.slots = new Map(optimizer.slots.map((name) => [name, pair()]));
    uploadAll(device, layout, this.own[0], initial);
    const { length } = layout;
    this.programs = { norm: device.compile(squaredNorm(length)), step: device.compile(optimizer.step(length)) };
    this.normView = tensor(device, "f32", [1]);
  }

  /** The current trainable tensors; the views change after every step. */
  get parameters(): ReadonlyMap<string, View> {
    return this.own[0].views;
  }

  /** The L2 norm of a gradient. */
  async norm(gradient: FlatVector): Promise<number> {
    this.device.run(this.programs.norm, { grad: gradient.all }, { squared_norm: this.normView });
    return Math.sqrt(Number((await this.device.download(this.normView))[0]));
  }

  /** One step of the optimiser, with the gradient multiplied by `clip`. */
  update(gradient: FlatVector, lr: number, clip: number): void {
    const { device, optimizer, own } = this;
    this.stepsDone++;
    for (const [name, value] of Object.entries({ clip, ...optimizer.scalars(lr, this.stepsDone) }))
      device.upload(this.scalar(name), Float32Array.of(value));
    const inputs = { param: own[0].all, grad: gradient.all, ...Object.fromEntries(this.scalars) };
    const [before, after] = [0, 1].map((side) =>
      [...this.slots].map(([name, pair]) => [name, pair[side]!.all] as const),
    );
    const results = { new_param: own[1].all, ...Object.fromEntries(after!.map(([name, v]) => [`new_${name}`, v])) };
    device.run(this.programs.step, { ...inputs, ...Object.fromEntries(before!) }, results);
    for (const pair of [own, ...this.slots.values()]) pair.reverse();
  }

  private scalar(name: string): View {
    if (!this.scalars.has(name)) this.scalars.set(name, tensor(this.device, "f32", [1]));
    return this.scalars.get(name)!;
  }

  async state(): Promise<TrainerState> {
    const read = (pair: Pair) => downloadAll(this.device, this.layout, pair[0]);
    const slots = new Map<string, ReadonlyMap<string, HostTensor>>();
    const parameters = await read(this.own);
    for (const [name, pair] of this.slots) slots.set(name, await read(pair));
    return { step: this.stepsDone, parameters, slots };
  }

  async restore(state: TrainerState): Promise<void> {
    uploadAll(this.device, this.layout, this.own[0], state.parameters);
    for (const [name, pair] of this.slots)
      uploadAll(this.device, this.layout, pair[0], state.slots.get(name) ?? new Map());
    this.stepsDone = state.step;
    await this.device.flush();
  }

  dispose(): void {
    for (const program of Object.values(this.programs)) this.device.release(program);
    const vectors = [this.own, ...this.slots.values()].flat().map((vector) => vector.all);
    for (const { buffer } of [...vectors, ...this.scalars.values(), this.normView]) this.device.free(buffer);
  }
}
