import { type Fn, topological, verify } from "../graph/index.js";
import { type Backend, type Provider, reorderedInputs, toOnnx, updatedInputs } from "../onnx/index.js";
import { BYTES, bytesOf, type TypedArray } from "../tensor/index.js";
import { fits } from "./boxes.js";
import type { Command, Executor } from "./commands.js";
import { type Data, isMask } from "./data.js";
import {
  type Bound,
  type Box,
  type Buffer,
  type Device,
  type DeviceMemory,
  type FilePlace,
  type Precision,
  type Program,
  refuseEncoded,
  storedBytes,
  type View,
} from "./device.js";

/** How many commands are handed to the executor together: few at first, while it waits, then up to the second number. */
const [FIRST, MOST] = [4, 64];

/** A device that records commands and hands them to an executor in order: at once when many, else on the next microtask. */
export class QueueDevice implements Device {
  readonly provider: Provider;
  private readonly executor: Executor;
  private readonly backends: Readonly<Partial<Record<Precision, Backend>>>;
  private pending: Command[] = [];
  private enough = FIRST;
  private tail: Promise<void>;
  private failure: unknown;
  private nextId = 1;
  /** What `apart` records is handed on as one list. */
  private recording = false;

  /**
   * `backends`: what runs the programs of each precision; default: the provider, all in full. Where `opening` fails, so does
   * what is waited for first, in the same words.
   */
  constructor(
    executor: Executor,
    provider: Provider,
    backends: Readonly<Partial<Record<Precision, Backend>>> = {},
    opening: Promise<unknown> = Promise.resolve(),
  ) {
    this.executor = executor;
    this.provider = provider;
    this.backends = backends;
    this.tail = opening.then(
      () => {},
      (error) => void (this.failure ??= error),
    );
  }

  allocate(room: number | FilePlace): Buffer {
    const [id, place] = [this.nextId++, typeof room === "number" ? undefined : room];
    const bytes = typeof room === "number" ? room : room.bytes;
    this.queue({ kind: "allocate", id, bytes, place });
    return place ? { id, bytes, inFile: true } : { id, bytes };
  }

  free(buffer: Buffer): void {
    this.queue({ kind: "free", id: buffer.id });
  }

  get precision(): Precision {
    return this.backends.reduced ? "reduced" : "full";
  }

  compile(f: Fn, precision: Precision = "full", fixed: Readonly<Record<string, View>> = {}): Program {
    verify(f);
    const backend = this.backends[precision] ?? this.backends.full ?? this.provider;
    const used = new Set(topological(Object.values(f.outputs)));
    const read = Object.keys(f.inputs).filter((name) => used.has(f.inputs[name]!));
    const inputs = read.filter((name) => !fixed[name]);
    const kept = (wanted: (name: string) => boolean) =>
      pick(
        f,
        "input",
        read.filter((name) => fixed[name] && wanted(name)),
        fixed,
      );
    const reordered = new Set(reorderedInputs(f).filter((name) => fixed[name]));
    const [external, own] = [kept((name) => reordered.has(name)), kept((name) => !reordered.has(name))];
    const program = { id: this.nextId++, name: f.name, inputs, outputs: Object.keys(f.outputs) };
    const [model, dense] = [
      toOnnx(f, backend, reordered),
      Object.values(external).every(({ dtype }) => dtype === "f32"),
    ];
    const open = dense && reordered.size > 0 ? toOnnx(f, backend) : undefined;
    const updates = updatedInputs(f, backend);
    this.queue({ kind: "compile", id: program.id, name: f.name, model, backend, fixed: own, external, open, updates });
    return program;
  }

  updates(f: Fn): readonly string[] {
    return updatedInputs(f, this.backends.full ?? this.provider);
  }

  release(program: Program): void {
    this.queue({ kind: "release", id: program.id });
  }

  bind(views: Readonly<Record<string, View>>): Bound {
    const bound = { id: this.nextId++, names: new Set(Object.keys(views)) };
    this.queue({ kind: "bind", id: bound.id, views });
    return bound;
  }

  unbind({ id }: Bound): void {
    this.queue({ kind: "unbind", id });
  }

  run(
    program: Program,
    inputs: Readonly<Record<string, View>>,
    outputs: Readonly<Record<string, View>>,
    bound: readonly Bound[] = [],
  ): void {
    const filled = pick(program, "output", program.outputs, outputs);
    refuseEncoded(...Object.values(filled));
    const named = bound.length > 0 ? (name: string) => bound.some(({ names }) => names.has(name)) : undefined;
    const wanted = named ? program.inputs.filter((name) => !named(name)) : program.inputs;
    const read = pick(program, "input", wanted, inputs);
    this.queue({ kind: "run", program: program.id, inputs: read, outputs: filled, bound: bound.map(({ id }) => id) });
  }

  upload(view: View, data: Data): void {
    if (isMask(data) ? view.codec || view.dtype !== "f32" : data.byteLength !== storedBytes(view)) {
      const what = isMask(data) ? "a dropout mask" : `${data.byteLength} bytes`;
      throw new RangeError(`upload of ${what} into ${view.codec ?? view.dtype}[${view.shape}]`);
    }
    this.queue({ kind: "upload", view, data });
  }

  copy(from: View, to: View, parts?: readonly Box[]): void {
    refuseEncoded(to);
    const same = parts
      ? BYTES[from.dtype] === BYTES[to.dtype]
      : bytesOf(from.dtype, from.shape) === bytesOf(to.dtype, to.shape);
    const bad = parts?.find((box) => !fits(from.shape, to.shape, box));
    if (!same || bad || (from.codec && to.dtype !== "f32")) {
      const part = bad ? `: ${JSON.stringify(bad)}` : "";
      throw new RangeError(`copy of ${from.dtype}[${from.shape}] into ${to.dtype}[${to.shape}]${part}`);
    }
    this.queue({ kind: "copy", from, to, parts });
  }

  apart(record: () => void): Promise<number> {
    this.send();
    let done = Promise.resolve(0);
    this.recording = true;
    try {
      record();
    } finally {
      this.recording = false;
      done = this.executor.execute(this.pending, true);
      done.catch(() => {});
      this.pending = [];
      this.tail = this.tail.then(() => done.then(nothing, nothing));
    }
    return done;
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
    this.enough = FIRST;
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
    else if (this.pending.length >= this.enough && !this.recording) this.send();
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
    this.enough = Math.min(MOST, 2 * this.enough);
    const done = this.executor.execute(commands).then(nothing);
    done.catch(nothing);
    this.tail = this.tail.then(() => done).catch((error) => void (this.failure ??= error));
  }
}

const nothing = (): void => undefined;

function pick(
  program: { readonly name: string },
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
