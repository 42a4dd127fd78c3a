import type { Device, Program } from "../runtime/index.js";
import type { Communicator } from "./communicators/communicator.js";
import { accumulate } from "./flat.js";
import { type FlatVector, flatVector, type Layout } from "./parameters.js";

/** The gradient of a step: micro-batches write theirs one after the other, and it is their sum. */
export class GradientSum {
  private readonly device: Device;
  private readonly layout: Layout;
  /** The sum so far; the newest; where the two are added up. The last two only where a step has several micro-batches. */
  private readonly vectors: FlatVector[];
  private program: Program | undefined;

  constructor(device: Device, layout: Layout) {
    this.device = device;
    this.layout = layout;
    this.vectors = [flatVector(device, layout)];
  }

  get total(): FlatVector {
    return this.vectors[0]!;
  }

  /** Where micro-batch `index` of a step writes its gradient. */
  target(index: number): FlatVector {
    return index === 0 ? this.total : this.spare(1);
  }

  /** The gradient of micro-batch `index` is written: it joins those before it. */
  add(index: number): void {
    if (index === 0) return;
    const { device } = this;
    const sum = this.spare(2);
    this.program ??= device.compile(accumulate(this.layout.length));
    device.run(this.program, { a: this.total.all, b: this.spare(1).all }, { sum: sum.all });
    [this.vectors[0], this.vectors[2]] = [sum, this.total];
  }

  /** A step without a micro-batch of its own adds nothing. */
  clear(): void {
    this.device.upload(this.total.all, new Float32Array(this.layout.length));
  }

  /** Adds up the gradients of all processes. */
  async share(communicator: Communicator): Promise<void> {
    if (communicator.size === 1) return;
    const values = (await this.device.download(this.total.all)) as Float32Array;
    await communicator.sum(values);
    this.device.upload(this.total.all, values);
  }

  private spare(index: number): FlatVector {
    while (this.vectors.length <= index) this.vectors.push(flatVector(this.device, this.layout));
    return this.vectors[index]!;
  }

  dispose(): void {
    if (this.program) this.device.release(this.program);
    for (const { all } of this.vectors) this.device.free(all.buffer);
  }
}
