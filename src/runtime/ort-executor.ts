import type { Named, Provider } from "../onnx/index.js";
import { ARRAYS, BYTES, bytesOf, random, sizeOf, type TypedArray, UserError } from "../tensor/index.js";
import type { Command, Executor } from "./commands.js";
import type { DeviceMemory, View } from "./device.js";

/** The part of onnxruntime-common's API that is used; onnxruntime-node and onnxruntime-web both fit. */
export interface Ort {
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<OrtSession>;
  };
  readonly Tensor: new (type: string, data: unknown, dims: readonly number[]) => unknown;
}

interface OrtSession {
  run(feeds: Record<string, unknown>, fetches: Record<string, unknown>): Promise<unknown>;
  release(): Promise<void>;
}

export interface OrtOptions {
  readonly provider: Provider;
  /** Threads inside an operator; 0: the engine's own choice. */
  readonly threads: number;
  /** Resident bytes of the process: now and at its highest. */
  readonly processMemory: () => { resident: number; peak: number };
}

const TYPES: Readonly<Record<string, string>> = {
  f32: "float32",
  f64: "float64",
  f16: "float16",
  i64: "int64",
  i32: "int32",
  i8: "int8",
  u8: "uint8",
  bool: "bool",
};

/** The buffer that programs share for results nobody keeps; the ids of other buffers start at 1. */
const SCRATCH = { id: 0, bytes: Number.MAX_SAFE_INTEGER };

/**
 * Runs commands on ONNX Runtime in this thread. Buffers are ArrayBuffers, views are typed arrays over them, and both
 * inputs and preallocated outputs reach the engine without a copy.
 */
export class OrtExecutor implements Executor {
  private readonly ort: Ort;
  private readonly options: OrtOptions;
  private readonly buffers = new Map<number, ArrayBuffer>();
  private readonly sessions = new Map<
    number,
    { name: string; session: OrtSession; temporaries: Record<string, View> }
  >();
  private tail: Promise<void> = Promise.resolve();

  constructor(ort: Ort, options: OrtOptions) {
    this.ort = ort;
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
    for (const b of this.buffers.values()) buffers += b.byteLength;
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
        this.buffers.set(command.id, allocate(command.bytes));
        return;
      case "free":
        this.buffers.delete(command.id);
        return;
      case "compile":
        return this.compile(command);
      case "release": {
        const found = this.sessions.get(command.id);
        this.sessions.delete(command.id);
        return found?.session.release();
      }
      case "run":
        return this.run(command.program, command.inputs, command.outputs);
      case "upload":
        this.bytes(command.view).set(bytes(command.data));
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

  private async compile({ id, name, model, temporaries }: Extract<Command, { kind: "compile" }>): Promise<void> {
    const { provider, threads } = this.options;
    try {
      const session = await this.ort.InferenceSession.create(model, {
        executionProviders: [provider],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        enableMemPattern: false,
        enableCpuMemArena: false,
        logSeverityLevel: 3,
        graphOptimizationLevel: "all",
      });
      this.sessions.set(id, { name, session, temporaries: this.scratchFor(temporaries) });
    } catch (error) {
      throw new UserError(`device '${provider}' cannot run the program '${name}': ${message(error)}`, { cause: error });
    }
  }

  /** Places a program's temporaries end to end in the one scratch buffer, which grows to the largest program's need. */
  private scratchFor(temporaries: readonly Named[]): Record<string, View> {
    const views: Record<string, View> = {};
    let offset = 0;
    for (const { name, dtype, shape } of temporaries) {
      views[name] = { buffer: SCRATCH, dtype, shape, offset };
      offset += Math.ceil(bytesOf(dtype, shape) / 64) * 64;
    }
    if (offset > (this.buffers.get(SCRATCH.id)?.byteLength ?? 0)) {
      this.buffers.delete(SCRATCH.id);
      this.buffers.set(SCRATCH.id, allocate(offset));
    }
    return views;
  }

  private async run(program: number, inputs: Record<string, View>, outputs: Record<string, View>): Promise<void> {
    const found = this.sessions.get(program);
    if (!found) throw new Error(`program ${program} was released`);
    const { name, session, temporaries } = found;
    const feeds: Record<string, unknown> = {};
    const fetches: Record<string, unknown> = {};
    for (const key in inputs) feeds[key] = this.tensor(inputs[key]!);
    for (const key in outputs) fetches[key] = this.tensor(outputs[key]!);
    for (const key in temporaries) fetches[key] = this.tensor(temporaries[key]!);
    try {
      await session.run(feeds, fetches);
    } catch (error) {
      throw new Error(`program '${name}' failed: ${message(error)}`, { cause: error });
    }
  }

  private tensor(v: View): unknown {
    return new this.ort.Tensor(TYPES[v.dtype]!, this.array(v), v.shape);
  }

  private array({ buffer, dtype, offset, shape }: View): TypedArray {
    const memory = this.buffers.get(buffer.id);
    if (!memory) throw new Error(`buffer ${buffer.id} was freed`);
    return new ARRAYS[dtype](memory, offset, sizeOf(shape));
  }

  private bytes(v: View): Uint8Array {
    return bytes(this.array(v));
  }
}

const bytes = (data: TypedArray): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** ArrayBuffers grow in 8-byte steps so that any dtype can view them. */
function allocate(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(Math.ceil(bytes / BYTES.f64) * BYTES.f64);
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
