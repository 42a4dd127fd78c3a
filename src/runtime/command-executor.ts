import { type TypedArray, UserError } from "../tensor/index.js";
import { Buffers, type ReadFile, type Soon, whenThere } from "./buffers.js";
import { type Command, type Executor, TIDYING } from "./commands.js";
import { DecodedInputs } from "./decoded-inputs.js";
import type { DeviceMemory, View } from "./device.js";
import type { Engine, EngineSession } from "./engine.js";
import type { Memory } from "./memory.js";
import { Upcoming } from "./upcoming.js";

export interface ExecutorOptions {
  /** How the device is called in messages. */
  readonly device: string;
  /** Resident bytes of the process: now and at its highest. */
  readonly processMemory: () => { resident: number; peak: number };
  /** Returns freed memory to the system at once; called when much was freed. Default: the garbage collector's own pace. */
  readonly reclaim?: () => void;
  /** Reads parts of files, for buffers that stay in them. Default: there are none. */
  readonly readFile?: ReadFile;
}

/** Bytes of freed buffers that may wait for the garbage collector, which does not feel their weight. */
const FREED_LIMIT = 64 * 2 ** 20;

type Compile = Command & { kind: "compile" };
type Run = Command & { kind: "run" };

/** Views that were named once for many runs, as engines take them; encoded ones are decoded for each. */
interface BoundViews<T> {
  readonly plain: Readonly<Record<string, T>>;
  readonly encoded: Readonly<Record<string, View>>;
}

/** A compiled program and the inputs that it keeps. */
interface Loaded<T> {
  readonly name: string;
  readonly session: EngineSession<T>;
  readonly fixed: BoundViews<T>;
}

/**
 * Runs commands on an engine in this thread, over the engine's own kind of memory. Inputs and preallocated outputs reach it as parts
 * of that memory, without a copy.
 */
export class CommandExecutor<M, T> implements Executor {
  private readonly engine: Engine<T>;
  private readonly options: ExecutorOptions;
  private readonly buffers: Buffers<M, T>;
  private readonly decoded: DecodedInputs<M, T>;
  private readonly upcoming = new Upcoming();
  private readonly sessions = new Map<number, Loaded<T>>();
  private readonly loading = new Map<number, Promise<EngineSession<T>>>();
  private readonly bound = new Map<number, BoundViews<T>>();
  private tail: Promise<void> = Promise.resolve();
  private freed = 0;

  constructor(engine: Engine<T>, memory: Memory<M, T>, options: ExecutorOptions) {
    this.engine = engine;
    this.options = options;
    this.buffers = new Buffers(memory, options.readFile);
    this.decoded = new DecodedInputs(memory);
  }

  execute(commands: readonly Command[], apart = false): Promise<number> {
    if (this.engine.loadsAhead) this.loadAhead(commands);
    this.upcoming.add(commands);
    const before = this.tail;
    const result = before.then(async () => {
      const began = performance.now();
      await this.all(commands, apart);
      return performance.now() - began;
    });
    this.tail = before.then(() => result.then(nothing, apart ? nothing : undefined));
    this.tail.catch(() => undefined); // whoever waits is told
    return result;
  }

  download(view: View): Promise<TypedArray> {
    const values = this.tail.then(() => this.buffers.download(view));
    // What is queued behind may write where this reads: it waits.
    this.tail = this.tail.then(() => values.then(nothing, nothing));
    this.tail.catch(nothing);
    return values;
  }

  async memory(): Promise<DeviceMemory> {
    await this.tail;
    const buffers = this.decoded.bytes + this.buffers.bytes;
    return { ...this.options.processMemory(), buffers, fileWaitMs: this.buffers.fileWaitMs };
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
      this.upcoming.next();
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

  private one(command: Command): Soon<void> {
    switch (command.kind) {
      case "allocate":
        return this.buffers.allocate(command.id, command.bytes, command.place);
      case "free":
        return this.collect(this.buffers.free(command.id));
      case "compile":
        return this.compile(command);
      case "release":
        return this.release(command.id);
      case "bind":
        return void this.bound.set(command.id, this.bind(command.views));
      case "unbind":
        return void this.bound.delete(command.id);
      case "run":
        return this.run(command);
      case "upload":
        this.decoded.forget(command.view);
        return this.buffers.upload(command.view, command.data);
      case "copy":
        return this.buffers.copy(command.from, command.to, command.parts);
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

  private async load({ model, backend, external, updates }: Compile): Promise<EngineSession<T>> {
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

  private release(program: number): Soon<void> {
    const found = this.sessions.get(program);
    this.sessions.delete(program);
    this.collect(this.decoded.release(program));
    return found ? found.session.release() : this.abandon(program);
  }

  /** Releases a program that was loaded ahead and whose turn never came. */
  private async abandon(program: number): Promise<void> {
    const session = await this.loading.get(program)?.catch(() => undefined);
    this.loading.delete(program);
    await session?.release();
  }

  private bind(views: Readonly<Record<string, View>>): BoundViews<T> {
    const sides: [Record<string, View>, Record<string, View>] = [{}, {}];
    for (const name in views) sides[views[name]!.codec ? 1 : 0][name] = views[name]!;
    return { plain: this.tensors(sides[0]), encoded: sides[1] };
  }

  private boundBy(id: number): BoundViews<T> {
    const found = this.bound.get(id);
    if (!found) throw new Error(`views ${id} are not bound any more`);
    return found;
  }

  private run({ program, inputs: given, outputs, bound }: Run): Soon<void> {
    const loaded = this.sessions.get(program);
    if (!loaded) throw new Error(`program ${program} was released`);
    const sets = [loaded.fixed, ...bound.map((id) => this.boundBy(id))];
    const inputs: Record<string, View> = Object.assign({}, ...sets.map(({ encoded }) => encoded), given);
    const ready = this.decoded.prepare(program, inputs, (view, into) => this.decode(view, into));
    if (this.buffers.inFiles) this.readAhead();
    const plain = sets.map((set) => set.plain);
    return whenThere(ready, () =>
      startRun(loaded, Object.assign(this.tensors(inputs), ...plain), this.tensors(outputs)),
    );
  }

  private decode(view: View, into: M): Soon<void> {
    const decoded = this.buffers.decode(view, into);
    if (!this.buffers.inFile(view)) return decoded;
    return whenThere(decoded, () => this.collect(view.buffer.bytes)); // what was read is garbage now
  }

  /** Begins to read what the next runs decode, while this one runs. */
  private readAhead(): void {
    const reads = ({ codec, buffer }: View) => codec !== undefined && buffer.inFile === true;
    for (const view of this.upcoming.inputs(reads)) if (!this.decoded.has(view)) this.buffers.readAhead(view);
  }

  /** Returns freed memory to the system, once there is much of it. */
  private collect(bytes: number): void {
    this.freed += bytes;
    if (this.freed < FREED_LIMIT) return;
    this.freed = 0;
    this.options.reclaim?.();
  }

  private tensors(views: Readonly<Record<string, View>>): Record<string, T> {
    const tensors: Record<string, T> = {};
    for (const name in views) {
      const view = views[name]!;
      tensors[name] = view.codec ? this.decoded.tensor(name, view) : this.buffers.tensor(view);
    }
    return tensors;
  }
}

function startRun<T>({ name, session }: Loaded<T>, feeds: Record<string, T>, fetches: Record<string, T>): Soon<void> {
  const failed = (error: unknown): never => {
    if (error instanceof UserError) throw error;
    throw new Error(`program '${name}' failed: ${message(error)}`, { cause: error });
  };
  try {
    return session.run(feeds, fetches)?.catch(failed);
  } catch (error) {
    return failed(error);
  }
}

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const nothing = (): void => undefined;
