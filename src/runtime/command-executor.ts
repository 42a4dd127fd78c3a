import { ARRAYS, type HostTensor, random, sizeOf, type TypedArray, UserError } from "../tensor/index.js";
import { allocate, padded } from "./allocate.js";
import { type Command, type Executor, TIDYING } from "./commands.js";
import { DecodedInputs } from "./decoded-inputs.js";
import type { DeviceMemory, View } from "./device.js";
import { decodeRows, decodeView, type Encoded, type ReadFile, readAhead } from "./encoded.js";
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
  /** Reads parts of files, for buffers that stay in them. Default: there are none. */
  readonly readFile?: ReadFile;
}

/** Bytes of freed buffers that may wait for the garbage collector, which does not feel their weight. */
const FREED_LIMIT = 64 * 2 ** 20;

/** A buffer; its memory exists from its first use on, unless its bytes stay in a file. */
interface Held extends Encoded {
  readonly bytes: number;
  memory: ArrayBuffer | undefined;
}

type Compile = Command & { kind: "compile" };
type Run = Command & { kind: "run" };

/** Views that were named once for many runs, as engines take them; encoded ones are decoded for each. */
interface BoundViews {
  readonly plain: Readonly<Record<string, HostTensor>>;
  readonly encoded: Readonly<Record<string, View>>;
}

/** A compiled program and the inputs that it keeps. */
interface Loaded {
  readonly name: string;
  readonly session: EngineSession;
  readonly fixed: BoundViews;
}

/**
 * Runs commands on an engine in this thread. Buffers are ArrayBuffers, views are typed arrays over them, and both
 * inputs and preallocated outputs reach the engine without a copy.
 */
export class CommandExecutor implements Executor {
  private readonly engine: Engine;
  private readonly options: ExecutorOptions;
  private readonly buffers = new Map<number, Held>();
  private readonly decoded = new DecodedInputs();
  private readonly sessions = new Map<number, Loaded>();
  private readonly loading = new Map<number, Promise<EngineSession>>();
  private readonly bound = new Map<number, BoundViews>();
  private tail: Promise<void> = Promise.resolve();
  private freed = 0;
  private fileWaitMs = 0;

  constructor(engine: Engine, options: ExecutorOptions) {
    this.engine = engine;
    this.options = options;
  }

  execute(commands: readonly Command[], apart = false): Promise<void> {
    if (this.engine.loadsAhead) this.loadAhead(commands);
    const before = this.tail;
    const result = before.then(() => this.all(commands, apart));
    this.tail = apart ? before.then(() => result.catch(() => undefined)) : result;
    this.tail.catch(() => undefined); // whoever waits is told
    return result;
  }

  async download(view: View): Promise<TypedArray> {
    await this.tail;
    if (!view.codec) return this.array(view).slice();
    const target = new Float32Array(sizeOf(view.shape));
    await decodeView(view, this.held(view), this.options.readFile, target);
    return target;
  }

  async memory(): Promise<DeviceMemory> {
    await this.tail;
    let buffers = this.decoded.bytes;
    for (const b of this.buffers.values()) buffers += b.place ? 0 : b.bytes;
    return { ...this.options.processMemory(), buffers, fileWaitMs: this.fileWaitMs };
  }

  async dispose(): Promise<void> {
    await this.tail.catch(() => {});
    for (const { session } of this.sessions.values()) await session.release();
    for (const program of this.loading.keys()) await this.abandon(program);
    this.sessions.clear();
    this.bound.clear();
    this.buffers.clear();
    this.decoded.clear();
    this.engine.close?.();
  }

  /** Stops at the first error; with `tidies` what follows it is still freed and released. */
  private async all(commands: readonly Command[], tidies: boolean): Promise<void> {
    let failure: { readonly error: unknown } | undefined;
    for (const command of commands) {
      if (failure && !TIDYING.has(command.kind)) continue;
      try {
        const pending = this.one(command);
        if (pending) await pending;
      } catch (error) {
        if (!tidies) throw error;
        failure ??= { error };
      }
    }
    if (failure) throw failure.error;
  }

  private one(command: Command): Promise<unknown> | undefined {
    switch (command.kind) {
      case "allocate":
        this.buffers.set(command.id, { bytes: command.bytes, memory: undefined });
        return;
      case "openFile":
        this.buffers.set(command.id, { bytes: command.place.bytes, memory: undefined, place: command.place });
        return;
      case "prefetch":
        for (const view of command.views)
          if (!this.decoded.has(view)) readAhead(this.held(view), this.options.readFile);
        return;
      case "free":
        this.free(command.id);
        return;
      case "compile":
        return this.compile(command);
      case "release":
        return this.release(command.id);
      case "bind":
        this.bound.set(command.id, this.bind(command.views));
        return;
      case "unbind":
        this.bound.delete(command.id);
        return;
      case "run":
        return this.run(command);
      case "upload":
        this.upload(command.view, command.data);
        return;
      case "copy":
        this.bytes(command.to).set(this.bytes(command.from));
        return;
      case "copyPositions":
        copyPositions(this.array(command.from) as Float32Array, this.array(command.to) as Float32Array, command);
        return;
      case "decodeRows": {
        const { from, ids, to } = command;
        return decodeRows(from, this.held(from), this.options.readFile, ids, this.array(to) as Float32Array);
      }
      case "dropoutMask":
        fillDropout(this.array(command.view) as Float32Array, command.keep, random(command.seed, ...command.labels));
        return;
    }
  }

  /** Starts to load what later commands compile, where that needs nothing of what is queued before them. */
  private loadAhead(commands: readonly Command[]): void {
    for (const command of commands) {
      if (command.kind !== "compile" || Object.keys(command.external).length) continue;
      const session = this.load(command);
      session.catch(() => {}); // told when its turn comes
      this.loading.set(command.id, session);
    }
  }

  private async load({ model, backend, external, updates }: Compile): Promise<EngineSession> {
    return this.engine.load(model, backend, this.tensors(external), updates);
  }

  private async compile(command: Compile): Promise<void> {
    const { id, name, backend, fixed, external, open } = command;
    try {
      const fed = open && this.engine.copiesExternal ? { ...fixed, ...external } : undefined;
      const session = await (fed
        ? this.engine.load(open!, backend, {}, command.updates)
        : (this.loading.get(id) ?? this.load(command)));
      this.sessions.set(id, { name, session, fixed: this.bind(fed ?? fixed) });
    } catch (error) {
      throw new UserError(`device '${this.options.device}' cannot run the program '${name}': ${message(error)}`, {
        cause: error,
      });
    } finally {
      this.loading.delete(id);
    }
  }

  private release(program: number): Promise<void> | undefined {
    const found = this.sessions.get(program);
    this.sessions.delete(program);
    this.collect(this.decoded.release(program));
    return (found ? found.session.release() : this.abandon(program)) as Promise<void> | undefined;
  }

  /** Releases a program that was loaded ahead and whose turn never came. */
  private async abandon(program: number): Promise<void> {
    const session = await this.loading.get(program)?.catch(() => undefined);
    this.loading.delete(program);
    await session?.release();
  }

  private bind(views: Readonly<Record<string, View>>): BoundViews {
    const sides: [Record<string, View>, Record<string, View>] = [{}, {}];
    for (const name in views) sides[views[name]!.codec ? 1 : 0][name] = views[name]!;
    return { plain: this.tensors(sides[0]), encoded: sides[1] };
  }

  private boundBy(id: number): BoundViews {
    const found = this.bound.get(id);
    if (!found) throw new Error(`views ${id} are not bound any more`);
    return found;
  }

  private run({ program, inputs: given, outputs, bound }: Run): Promise<void> | undefined {
    const loaded = this.sessions.get(program);
    if (!loaded) throw new Error(`program ${program} was released`);
    const sets = [loaded.fixed, ...bound.map((id) => this.boundBy(id))];
    const inputs: Record<string, View> = Object.assign({}, ...sets.map(({ encoded }) => encoded), given);
    const decode = (view: View, target: Float32Array) => {
      const held = this.held(view);
      const began = performance.now();
      return decodeView(view, held, this.options.readFile, target)?.then((decodeMs) => {
        this.fileWaitMs += performance.now() - began - decodeMs;
        this.collect(held.bytes);
      });
    };
    const waiting = this.decoded.prepare(program, inputs, decode);
    const plain = sets.map((set) => set.plain);
    const start = () => startRun(loaded, Object.assign(this.tensors(inputs), ...plain), this.tensors(outputs));
    return waiting ? waiting.then(start) : start();
  }

  private free(id: number): void {
    const bytes = this.buffers.get(id)?.memory?.byteLength ?? 0;
    this.buffers.delete(id);
    this.collect(bytes);
  }

  /** Returns freed memory to the system, once there is much of it. */
  private collect(bytes: number): void {
    this.freed += bytes;
    if (this.freed < FREED_LIMIT) return;
    this.freed = 0;
    this.options.reclaim?.();
  }

  private upload(view: View, data: TypedArray): void {
    const held = this.held(view);
    this.decoded.forget(view);
    const whole = !held.memory && data.buffer.byteLength === padded(held.bytes) && data.byteLength === held.bytes;
    if (whole && this.options.ownsUploads) held.memory = data.buffer as ArrayBuffer;
    else new Uint8Array((held.memory ??= allocate(held.bytes)), view.offset).set(bytes(data));
  }

  private tensors(views: Record<string, View>): Record<string, HostTensor> {
    const tensors: Record<string, HostTensor> = {};
    for (const name in views) {
      const { dtype, shape, codec } = views[name]!;
      const data = codec ? this.decoded.get(name) : this.array(views[name]!);
      tensors[name] = { dtype, shape, data };
    }
    return tensors;
  }

  private held({ buffer }: View): Held {
    const held = this.buffers.get(buffer.id);
    if (!held) throw new Error(`buffer ${buffer.id} was freed`);
    return held;
  }

  private array(view: View): TypedArray {
    const { dtype, offset, shape } = view;
    const held = this.held(view);
    held.memory ??= allocate(held.bytes);
    return new ARRAYS[dtype](held.memory, offset, sizeOf(shape));
  }

  private bytes(v: View): Uint8Array {
    return bytes(this.array(v));
  }
}

function startRun(
  { name, session }: Loaded,
  feeds: Record<string, HostTensor>,
  fetches: Record<string, HostTensor>,
): Promise<void> | undefined {
  const failed = (error: unknown): never => {
    throw new Error(`program '${name}' failed: ${message(error)}`, { cause: error });
  };
  try {
    return session.run(feeds, fetches)?.catch(failed);
  } catch (error) {
    return failed(error);
  }
}

const bytes = (data: TypedArray): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

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

/** Numbers from which on the engine's own copy is faster than a loop. */
const LONG = 512;

function copyRange(from: Float32Array, start: number, to: Float32Array, at: number, count: number): void {
  if (count >= LONG) to.set(from.subarray(start, start + count), at);
  else for (let i = 0; i < count; i++) to[at + i] = from[start + i]!;
}

function copyPositions(
  from: Float32Array,
  to: Float32Array,
  { from: { shape }, to: { shape: target }, moves }: Command & { kind: "copyPositions" },
): void {
  const [layers, rows, groups, positions, width] = shape as [number, number, number, number, number];
  const [, targetRows, , targetPositions] = target as [number, number, number, number];
  for (let layer = 0; layer < layers; layer++) {
    for (const { row, at, toRow, toAt, count } of moves) {
      for (let g = 0; g < groups; g++) {
        const start = (((layer * rows + row) * groups + g) * positions + at) * width;
        const end = ((layer * targetRows + toRow) * groups + g) * targetPositions + toAt;
        copyRange(from, start, to, end * width, count * width);
      }
    }
  }
}
