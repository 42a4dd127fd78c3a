import { type Fn, topological, verify } from "../graph/index.js";
import { type Backend, type Provider, toOnnx } from "../onnx/index.js";
import { bytesOf, type TypedArray } from "../tensor/index.js";
import type { Command, Executor } from "./commands.js";
import type { Buffer, Device, DeviceMemory, Precision, Program, View } from "./device.js";

/** How many commands are queued at most before they are handed to the executor. */
const BATCH = 64;

/** A device that records commands and hands them to an executor in order: at once when many, else on the next microtask. */
export class QueueDevice implements Device {
  readonly provider: Provider;
  private readonly executor: Executor;
  private readonly reduced: Backend;
  private pending: Command[] = [];
  private tail: Promise<void> = Promise.resolve();
  private failure: unknown;
  private nextId = 1;

  /** `reduced`: what runs the programs that bear a reduced precision; default: the provider, in its own. */
  constructor(executor: Executor, provider: Provider, reduced: Backend = provider) {
    this.executor = executor;
    this.provider = provider;
    this.reduced = reduced;
  }

  allocate(bytes: number): Buffer {
    const buffer = { id: this.nextId++, bytes };
    this.queue({ kind: "allocate", id: buffer.id, bytes });
    return buffer;
  }

  free(buffer: Buffer): void {
    this.queue({ kind: "free", id: buffer.id });
  }

  get precision(): Precision {
    return this.reduced === this.provider ? "full" : "reduced";
  }

  compile(f: Fn, precision: Precision = "full"): Program {
    verify(f);
    const backend = precision === "reduced" ? this.reduced : this.provider;
    const used = new Set(topological(Object.values(f.outputs)));
    const inputs = Object.keys(f.inputs).filter((name) => used.has(f.inputs[name]!));
    const program = { id: this.nextId++, name: f.name, inputs, outputs: Object.keys(f.outputs) };
    this.queue({ kind: "compile", id: program.id, name: f.name, model: toOnnx(f, backend), backend });
    return program;
  }

  release(program: Program): void {
    this.queue({ kind: "release", id: program.id });
  }

  run(program: Program, inputs: Readonly<Record<string, View>>, outputs: Readonly<Record<string, View>>): void {
    this.queue({
      kind: "run",
      program: program.id,
      inputs: pick(program, "input", program.inputs, inputs),
      outputs: pick(program, "output", program.outputs, outputs),
    });
  }

  upload(view: View, data: TypedArray): void {
    if (data.byteLength !== bytesOf(view.dtype, view.shape)) {
      throw new RangeError(`upload of ${data.byteLength} bytes into ${view.dtype}[${view.shape}]`);
    }
    this.queue({ kind: "upload", view, data });
  }

  copy(from: View, to: View): void {
    if (bytesOf(from.dtype, from.shape) !== bytesOf(to.dtype, to.shape)) {
      throw new RangeError(`copy of ${from.dtype}[${from.shape}] into ${to.dtype}[${to.shape}]`);
    }
    this.queue({ kind: "copy", from, to });
  }

  copyRows(from: View, to: View, at: number): void {
    const [groups, t, width] = from.shape;
    const fits = to.shape[0] === groups && to.shape[2] === width && at >= 0 && at + t! <= to.shape[1]!;
    if (!fits) throw new RangeError(`copyRows of [${from.shape}] into [${to.shape}] at row ${at}`);
    this.queue({ kind: "copyRows", from, to, at });
  }

  dropoutMask(view: View, keep: number, seed: number, labels: readonly (string | number)[]): void {
    this.queue({ kind: "dropoutMask", view, keep, seed, labels });
  }

  async download(view: View): Promise<TypedArray> {
    return this.answer(() => this.executor.download(view));
  }

  async memory(): Promise<DeviceMemory> {
    return this.answer(() => this.executor.memory());
  }

  async flush(): Promise<void> {
    this.send();
    await this.tail;
    if (this.failure !== undefined) throw this.failure;
  }

  async dispose(): Promise<void> {
    this.send();
    await this.tail;
    await this.executor.dispose();
  }

  private queue(command: Command): void {
    if (this.failure !== undefined) return;
    this.pending.push(command);
    if (this.pending.length === 1) queueMicrotask(() => this.send());
    else if (this.pending.length >= BATCH) this.send();
  }

  /** Asks right behind what is queued now: commands queued while the answer is awaited come after it. */
  private async answer<T>(ask: () => Promise<T>): Promise<T> {
    this.send();
    const result = ask();
    result.catch(() => {});
    await this.flush();
    return result;
  }

  private send(): void {
    if (!this.pending.length) return;
    const commands = this.pending;
    this.pending = [];
    const done = this.executor.execute(commands);
    done.catch(() => {});
    this.tail = this.tail.then(() => done).catch((error) => void (this.failure ??= error));
  }
}

function pick(
  program: Program,
  kind: string,
  names: readonly string[],
  given: Readonly<Record<string, View>>,
): Record<string, View> {
  const picked: Record<string, View> = {};
  for (const name of names) {
    const v = given[name];
    if (!v)
      throw new Error(`${program.name}: ${kind} '${name}' is missing; given are ${Object.keys(given).join(", ")}`);
    picked[name] = v;
  }
  return picked;
}
