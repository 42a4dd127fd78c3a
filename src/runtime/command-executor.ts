import { ARRAYS, BYTES, type HostTensor, random, sizeOf, type TypedArray, UserError } from "../tensor/index.js";
import type { Command, Executor } from "./commands.js";
import type { DeviceMemory, View } from "./device.js";
import type { Engine, EngineSession } from "./engine.js";

export interface ExecutorOptions {
  /** How the device is called in messages. */
  readonly device: string;
  /** Resident bytes of the process: now and at its highest. */
  readonly processMemory: () => { resident: number; peak: number };
  /** What is uploaded was handed over, so that it may become a buffer instead of being copied into it. Default false. */
  readonly ownsUploads?: boolean;
  /** Returns freed memory to the system at once; called when much was freed. Default: the garbage collector's own pace. */
  readonly reclaim?: () => void;
}

/** Bytes of freed buffers that may wait for the garbage collector, which does not feel their weight. */
const FREED_LIMIT = 64 * 2 ** 20;

/** A buffer; its memory exists from its first use on. */
interface Held {
  readonly bytes: number;
  memory: ArrayBuffer | undefined;
}

/**
 * Runs commands on an engine in this thread. Buffers are ArrayBuffers, views are typed arrays over them, and both
 * inputs and preallocated outputs reach the engine without a copy.
 */
export class CommandExecutor implements Executor {
  private readonly engine: Engine;
  private readonly options: ExecutorOptions;
  private readonly buffers = new Map<number, Held>();
  private readonly sessions = new Map<number, { name: string; session: EngineSession }>();
  private tail: Promise<void> = Promise.resolve();
  private freed = 0;

  constructor(engine: Engine, options: ExecutorOptions) {
    this.engine = engine;
    this.options = options;
  }

  execute(commands: readonly Command[]): Promise<void> {
    const result = this.tail.then(async () => {
      for (const command of commands) {
        const pending = this.one(command);
        if (pending) await pending;
      }
    });
    this.tail = result;
    return result;
  }

  async download(view: View): Promise<TypedArray> {
    await this.tail;
    return this.array(view).slice();
  }

  async memory(): Promise<DeviceMemory> {
    await this.tail;
    let buffers = 0;
    for (const b of this.buffers.values()) buffers += b.bytes;
    return { ...this.options.processMemory(), buffers };
  }

  async dispose(): Promise<void> {
    await this.tail.catch(() => {});
    for (const { session } of this.sessions.values()) await session.release();
    this.sessions.clear();
    this.buffers.clear();
  }

  private one(command: Command): Promise<unknown> | undefined {
    switch (command.kind) {
      case "allocate":
        this.buffers.set(command.id, { bytes: command.bytes, memory: undefined });
        return;
      case "free":
        this.free(command.id);
        return;
      case "compile":
        return this.compile(command);
      case "release": {
        const found = this.sessions.get(command.id);
        this.sessions.delete(command.id);
        return found?.session.release() as Promise<void> | undefined;
      }
      case "run":
        return this.run(command.program, command.inputs, command.outputs);
      case "upload":
        this.upload(command.view, command.data);
        return;
      case "copy":
        this.bytes(command.to).set(this.bytes(command.from));
        return;
      case "copyRows":
        copyRows(this.array(command.from) as Float32Array, this.array(command.to) as Float32Array, command);
        return;
      case "dropoutMask":
        fillDropout(this.array(command.view) as Float32Array, command.keep, random(command.seed, ...command.labels));
        return;
    }
  }

  private async compile({ id, name, model, backend }: Command & { kind: "compile" }): Promise<void> {
    try {
      this.sessions.set(id, { name, session: await this.engine.load(model, backend) });
    } catch (error) {
      throw new UserError(`device '${this.options.device}' cannot run the program '${name}': ${message(error)}`, {
        cause: error,
      });
    }
  }

  private run(program: number, inputs: Record<string, View>, outputs: Record<string, View>): Promise<void> | undefined {
    const found = this.sessions.get(program);
    if (!found) throw new Error(`program ${program} was released`);
    const failed = (error: unknown): never => {
      throw new Error(`program '${found.name}' failed: ${message(error)}`, { cause: error });
    };
    const [feeds, fetches] = [this.tensors(inputs), this.tensors(outputs)];
    try {
      return found.session.run(feeds, fetches)?.catch(failed);
    } catch (error) {
      return failed(error);
    }
  }

  private free(id: number): void {
    this.freed += this.buffers.get(id)?.memory?.byteLength ?? 0;
    this.buffers.delete(id);
    if (this.freed < FREED_LIMIT) return;
    this.freed = 0;
    this.options.reclaim?.();
  }

  private upload(view: View, data: TypedArray): void {
    const held = this.buffers.get(view.buffer.id);
    const whole =
      held && !held.memory && data.buffer.byteLength === padded(held.bytes) && data.byteLength === held.bytes;
    if (whole && this.options.ownsUploads) held.memory = data.buffer as ArrayBuffer;
    else this.bytes(view).set(bytes(data));
  }

  private tensors(views: Record<string, View>): Record<string, HostTensor> {
    const tensors: Record<string, HostTensor> = {};
    for (const name in views) {
      const { dtype, shape } = views[name]!;
      tensors[name] = { dtype, shape, data: this.array(views[name]!) };
    }
    return tensors;
  }

  private array({ buffer, dtype, offset, shape }: View): TypedArray {
    const held = this.buffers.get(buffer.id);
    if (!held) throw new Error(`buffer ${buffer.id} was freed`);
    held.memory ??= allocate(held.bytes);
    return new ARRAYS[dtype](held.memory, offset, sizeOf(shape));
  }

  private bytes(v: View): Uint8Array {
    return bytes(this.array(v));
  }
}

const bytes = (data: TypedArray): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Buffers grow in 8-byte steps so that any dtype can view them. */
const padded = (bytes: number): number => Math.ceil(bytes / BYTES.f64) * BYTES.f64;

function allocate(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(padded(bytes));
  } catch (error) {
    throw new UserError(`cannot allocate ${(bytes / 1e9).toFixed(2)} GB: out of memory`, { cause: error });
  }
}

/** Two 16-bit draws a 32-bit random number: the keep probability is exact to 1/65536. */
function fillDropout(mask: Float32Array, keep: number, rng: { int32(): number }): void {
  const threshold = Math.round(keep * 65536);
  const scale = 65536 / threshold;
  for (let i = 0; i < mask.length; i += 2) {
    const bits = rng.int32();
    mask[i] = (bits & 0xffff) < threshold ? scale : 0;
    if (i + 1 < mask.length) mask[i + 1] = bits >>> 16 < threshold ? scale : 0;
  }
}

function copyRows(
  from: Float32Array,
  to: Float32Array,
  { from: { shape }, to: { shape: target }, at }: { from: View; to: View; at: number },
): void {
  const [groups, t, width] = shape as [number, number, number];
  for (let g = 0; g < groups; g++)
    to.set(from.subarray(g * t * width, (g + 1) * t * width), (g * target[1]! + at) * width);
}
