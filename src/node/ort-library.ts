import { join } from "node:path";
import process from "node:process";
import { ELEMENT, encodeModel } from "../onnx/index.js";
import { type Engine, type EngineSession, written } from "../runtime/index.js";
import { type DType, type HostTensor, sizeOf } from "../tensor/index.js";
import { hasKoffi, loadKoffi } from "./koffi.js";
import { ortFolder } from "./ort-package.js";
import { trimHeap } from "./trim-heap.js";

/** Where each function stands in `OrtApi` (onnxruntime_c_api.h: entries are only ever appended), with its parameters. */
const API = {
  GetErrorMessage: [2, "const char *", ["uint64_t"]],
  CreateSessionFromArray: [8, "uint64_t", ["uint64_t", "void *", "size_t", "uint64_t", "void *"]],
  Run: [9, "uint64_t", ["uint64_t", "uint64_t", "void *", "void *", "size_t", "void *", "size_t", "void *"]],
  CreateSessionOptions: [10, "uint64_t", ["void *"]],
  DisableMemPattern: [17, "uint64_t", ["uint64_t"]],
  SetSessionLogSeverityLevel: [22, "uint64_t", ["uint64_t", "int"]],
  SetSessionGraphOptimizationLevel: [23, "uint64_t", ["uint64_t", "int"]],
  SetIntraOpNumThreads: [24, "uint64_t", ["uint64_t", "int"]],
  CreateTensorWithDataAsOrtValue: [
    49,
    "uint64_t",
    ["uint64_t", "void *", "size_t", "void *", "size_t", "int", "void *"],
  ],
  CreateCpuMemoryInfo: [69, "uint64_t", ["int", "int", "void *"]],
  ReleaseEnv: [92, "void", ["uint64_t"]],
  ReleaseStatus: [93, "void", ["uint64_t"]],
  ReleaseMemoryInfo: [94, "void", ["uint64_t"]],
  ReleaseSession: [95, "void", ["uint64_t"]],
  ReleaseValue: [96, "void", ["uint64_t"]],
  ReleaseSessionOptions: [100, "void", ["uint64_t"]],
  CreateEnvWithGlobalThreadPools: [119, "uint64_t", ["int", "const char *", "uint64_t", "void *"]],
  DisablePerSessionThreads: [120, "uint64_t", ["uint64_t"]],
  CreateThreadingOptions: [121, "uint64_t", ["void *"]],
  ReleaseThreadingOptions: [122, "void", ["uint64_t"]],
  AddSessionConfigEntry: [130, "uint64_t", ["uint64_t", "const char *", "const char *"]],
  CreateAndRegisterAllocator: [144, "uint64_t", ["uint64_t", "uint64_t", "uint64_t"]],
  SetGlobalIntraOpNumThreads: [147, "uint64_t", ["uint64_t", "int"]],
  SetGlobalSpinControl: [149, "uint64_t", ["uint64_t", "int"]],
  AddInitializer: [150, "uint64_t", ["uint64_t", "uint64_t", "uint64_t"]],
  CreateArenaCfg: [156, "uint64_t", ["size_t", "int", "int", "int", "void *"]],
  ReleaseArenaCfg: [157, "void", ["uint64_t"]],
  CreatePrepackedWeightsContainer: [166, "uint64_t", ["void *"]],
  ReleasePrepackedWeightsContainer: [167, "void", ["uint64_t"]],
  CreateSessionFromArrayWithPrepackedWeightsContainer: [
    169,
    "uint64_t",
    ["uint64_t", "void *", "size_t", "uint64_t", "uint64_t", "void *"],
  ],
  AddExternalInitializers: [210, "uint64_t", ["uint64_t", "void *", "void *", "size_t"]],
} as const;

/** The newest version of the C API that every entry above belongs to. */
const API_VERSION = 12;
const LOG_ERRORS = 3;
/** The graphs are lowered as they are to run: the engine's own rewriting won no time in a run and cost two thirds of a load. */
const NO_REWRITING = 0;
const ARENA = 1;
const MEMORY_DEFAULT = 0;
const GROW_BY_DOUBLING = 0;

/**
 * The arena's first region, address space until it is touched. Runs of every size are cut from it; regions of their own
 * would never be joined, and a data set of many lengths would pile them up.
 */
const ARENA_BYTES = 2 ** 29;

/** What the arena wastes at most to keep a free chunk whole. */
const ARENA_SLACK = 2 ** 18;

/** Sessions released, each about 0.7 MB in small pieces, after which what they leave is given back to the system. */
const TRIM_EVERY = 64;
let released = 0;

type Pointer = bigint;
type Call = (...args: unknown[]) => unknown;

interface Native {
  /** Calls a function of the API. Throws Error with the engine's message when it reports one. */
  readonly call: (name: keyof typeof API, ...args: unknown[]) => void;
  /** Calls a function whose last argument receives a handle, and returns it. */
  readonly make: (name: keyof typeof API, ...args: unknown[]) => Pointer;
  readonly cString: (text: string) => Uint8Array;
  readonly addressOf: (data: Uint8Array) => Pointer;
}

export interface NativeOptions {
  /** Threads sleep when they have nothing to do, for those of another engine. Default false. */
  readonly yields?: boolean;
  /** Each session has its own threads: for an engine of another size than the process's pool. Default false. */
  readonly ownThreads?: boolean;
}

/**
 * ONNX Runtime's CPU provider through its C library, the one that onnxruntime-node brings: outputs are written in place
 * (the JavaScript binding copies each once more), and all sessions share one thread pool and one arena. The pool belongs to
 * the process: its first engine decides its size; where another package has opened ONNX Runtime first, there is none, and
 * sessions have threads of their own. Throws Error where koffi or the library cannot be loaded.
 */
export function nativeOrtEngine(threads: number, options: NativeOptions = {}): Engine {
  const { yields = false } = options;
  const native = loadLibrary();
  const { call, make } = native;
  const threading = make("CreateThreadingOptions");
  call("SetGlobalIntraOpNumThreads", threading, threads);
  if (yields) call("SetGlobalSpinControl", threading, 0);
  const env = make("CreateEnvWithGlobalThreadPools", LOG_ERRORS, "lowrank", threading);
  call("ReleaseThreadingOptions", threading);
  const ownThreads = options.ownThreads || !hasPool(native, env);
  const memory = make("CreateCpuMemoryInfo", ARENA, MEMORY_DEFAULT);
  const arena = make("CreateArenaCfg", 0, GROW_BY_DOUBLING, ARENA_BYTES, ARENA_SLACK);
  call("CreateAndRegisterAllocator", env, memory, arena);
  call("ReleaseArenaCfg", arena);
  const newOptions = (): Pointer => {
    const options = make("CreateSessionOptions");
    call("DisableMemPattern", options);
    call("SetSessionGraphOptimizationLevel", options, NO_REWRITING);
    call("SetSessionLogSeverityLevel", options, LOG_ERRORS);
    if (ownThreads) call("SetIntraOpNumThreads", options, threads);
    else call("DisablePerSessionThreads", options);
    call("AddSessionConfigEntry", options, "session.use_env_allocators", "1");
    if (ownThreads) call("AddSessionConfigEntry", options, "session.force_spinning_stop", "1");
    return options;
  };
  const plain = newOptions();
  let packed: Pointer | undefined;
  return {
    load(model, _backend, external = {}, updates = []) {
      if (Object.keys(external).length === 0) {
        const session = make("CreateSessionFromArray", env, model, model.length, plain);
        return nativeSession(native, memory, session, updates);
      }
      packed ??= make("CreatePrepackedWeightsContainer");
      const options = newOptions();
      try {
        const given = new Binding(native, memory);
        giveInitializers(native, options, given.bind(external));
        const create = "CreateSessionFromArrayWithPrepackedWeightsContainer";
        const session = make(create, env, model, model.length, options, packed);
        return nativeSession(native, memory, session, updates, given);
      } finally {
        call("ReleaseSessionOptions", options);
      }
    },
    close() {
      if (packed) call("ReleasePrepackedWeightsContainer", packed);
      call("ReleaseSessionOptions", plain);
      call("ReleaseMemoryInfo", memory);
      // The last reference to the process's environment ends the threads of its pool.
      call("ReleaseEnv", env);
    },
  };
}

/** Whether the process's environment, which whoever came first has made, has a pool of threads that sessions can share. */
function hasPool({ call, make }: Native, env: Pointer): boolean {
  const value = { dtype: "f32", shape: [1] } as const;
  const node = { type: "Identity", domain: "", inputs: ["x"], outputs: ["y"], attributes: {} };
  const sides = { inputs: [{ name: "x", ...value }], outputs: [{ name: "y", ...value }] };
  const model = encodeModel({ name: "pool", nodes: [node], initializers: new Map(), ...sides });
  const options = make("CreateSessionOptions");
  call("DisablePerSessionThreads", options);
  try {
    call("ReleaseSession", make("CreateSessionFromArray", env, model, model.length, options));
    return true;
  } catch {
    return false;
  } finally {
    call("ReleaseSessionOptions", options);
  }
}

/** Values in place of external ones, and shared: what the engine lays out anew is laid out once for all sessions. */
function giveInitializers({ call }: Native, options: Pointer, { names, values }: ReturnType<Binding["bind"]>): void {
  call("AddExternalInitializers", options, names, values, values.length);
  for (const [i, name] of names.entries()) call("AddInitializer", options, name, values[i]);
}

/** `updates`: inputs that a run writes in place. `given`: values that the session reads for as long as it lives. */
function nativeSession(
  native: Native,
  memory: Pointer,
  session: Pointer,
  updates: readonly string[],
  given?: Binding,
): EngineSession {
  const feeding = new Binding(native, memory);
  const fetching = new Binding(native, memory);
  return {
    run(feeds, fetches) {
      const [ins, outs] = [feeding.bind(feeds), fetching.bind(written(feeds, fetches, updates))];
      native.call(
        "Run",
        session,
        0n,
        ins.names,
        ins.values,
        ins.values.length,
        outs.names,
        outs.values.length,
        outs.values,
      );
    },
    release() {
      feeding.release();
      fetching.release();
      native.call("ReleaseSession", session);
      given?.release();
      if (++released % TRIM_EVERY === 0) trimHeap();
    },
  };
}

/** Numbers of buffers, never used twice: an address may come again with other memory behind it. */
const numbers = new WeakMap<ArrayBufferLike, number>();
let counted = 0;

export function numberOf(buffer: ArrayBufferLike): number {
  let number = numbers.get(buffer);
  if (number === undefined) numbers.set(buffer, (number = ++counted));
  return number;
}

/** What a value was made over. */
export interface Bound {
  readonly buffer: number;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/**
 * Names and values of one side of a run, as the C arrays that `Run` takes. Names are encoded once; a value is made anew only
 * where another view is bound to its name.
 */
class Binding {
  private readonly native: Native;
  private readonly memory: Pointer;
  private order: readonly string[] = [];
  private texts: Uint8Array[] = [];
  private names = new BigUint64Array(0);
  private values = new BigUint64Array(0);
  private bound: (Bound | undefined)[] = [];

  constructor(native: Native, memory: Pointer) {
    this.native = native;
    this.memory = memory;
  }

  bind(tensors: Readonly<Record<string, HostTensor>>): { names: BigUint64Array; values: BigUint64Array } {
    const order = Object.keys(tensors);
    if (order.length !== this.order.length || order.some((name, i) => name !== this.order[i])) this.encode(order);
    order.forEach((name, i) => {
      const tensor = tensors[name]!;
      if (!isOver(this.bound[i], tensor)) this.put(i, tensor);
    });
    return { names: this.names, values: this.values };
  }

  private put(i: number, { dtype, shape, data }: HostTensor): void {
    this.drop(i);
    if (!sizeOf(shape)) return;
    const dims = BigInt64Array.from(shape, BigInt);
    const args = [this.memory, data, data.byteLength, dims, dims.length, ELEMENT[dtype]];
    this.values[i] = this.native.make("CreateTensorWithDataAsOrtValue", ...args);
    this.bound[i] = { buffer: numberOf(data.buffer), offset: data.byteOffset, shape, dtype };
  }

  private drop(i: number): void {
    if (this.bound[i]) this.native.call("ReleaseValue", this.values[i]);
    this.bound[i] = undefined;
    this.values[i] = 0n;
  }

  private encode(order: readonly string[]): void {
    this.release();
    this.order = order;
    this.texts = order.map(this.native.cString);
    this.names = BigUint64Array.from(this.texts, this.native.addressOf);
    this.values = new BigUint64Array(order.length);
    this.bound = order.map(() => undefined);
  }

  release(): void {
    for (const i of this.bound.keys()) this.drop(i);
  }
}

/** Whether a value was made over just this. */
export const isOver = (bound: Bound | undefined, tensor: HostTensor): boolean =>
  bound !== undefined &&
  bound.offset === tensor.data.byteOffset &&
  isLike(bound, tensor) &&
  bound.buffer === numberOf(tensor.data.buffer);

/** Whether it has the same dtype and shape. */
export function isLike(bound: Bound, { dtype, shape }: HostTensor): boolean {
  if (bound.dtype !== dtype || bound.shape.length !== shape.length) return false;
  for (let i = 0; i < shape.length; i++) if (bound.shape[i] !== shape[i]) return false;
  return true;
}

function loadLibrary(): Native {
  const koffi = loadKoffi();
  const library = koffi.load(libraryPath());
  const base = library.func("OrtGetApiBase", "void *", [])() as Pointer;
  const bind = (at: Pointer, index: number, result: string, parameters: readonly string[]): Call => {
    const address = koffi.decode(at, index * 8, "void *") as Pointer;
    const proto = koffi.proto(result, [...parameters]);
    return (...args) => koffi.call(address, proto, ...args);
  };
  const api = bind(base, 0, "void *", ["uint32_t"])(API_VERSION) as Pointer;
  const functions = new Map<string, Call>();
  for (const [name, [index, result, parameters]] of Object.entries(API)) {
    functions.set(name, bind(api, index, result, parameters));
  }
  const call: Native["call"] = (name, ...args) => {
    const status = functions.get(name)!(...args);
    if (!status) return;
    const text = functions.get("GetErrorMessage")!(status) as string;
    functions.get("ReleaseStatus")!(status);
    throw new Error(text);
  };
  return {
    call,
    make: (name, ...args) => {
      const out = new BigUint64Array(1);
      call(name, ...args, out);
      return out[0]!;
    },
    cString,
    addressOf: (data) => koffi.address(data),
  };
}

/** Whether the C library is the way in: koffi is there, and nobody asked for the JavaScript binding. */
export function hasLibrary(): boolean {
  return !process.env.LOWRANK_ORT_BINDING && hasKoffi();
}

/** Why the C library is not the way in, in a few words; undefined where it is: it was loaded, and answered. */
export function libraryFault(): string | undefined {
  if (process.env.LOWRANK_ORT_BINDING) return "LOWRANK_ORT_BINDING is set";
  if (!ortFolder()) return "onnxruntime-node, which brings it, is not there yet";
  if (!hasLibrary()) return "koffi is not installed (npm install koffi)";
  try {
    loadLibrary();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The shared library beside onnxruntime-node's binding. */
function libraryPath(): string {
  const { platform, arch } = process;
  const names: Readonly<Record<string, string>> = { win32: "onnxruntime.dll", darwin: "libonnxruntime.1.dylib" };
  return join(ortFolder()!, "bin", "napi-v6", platform, arch, names[platform] ?? "libonnxruntime.so.1");
}

/** Text as C reads it, in memory that V8 never moves: small arrays without a buffer of their own lie on its heap. */
function cString(text: string): Uint8Array {
  const encoded = new TextEncoder().encode(`${text}\0`);
  const fixed = new Uint8Array(new ArrayBuffer(encoded.length));
  fixed.set(encoded);
  return fixed;
}
