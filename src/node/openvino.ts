import process from "node:process";
import { promisify } from "node:util";
import type { Engine, EngineSession } from "../runtime/index.js";
import { type DType, type HostTensor, sizeOf } from "../tensor/index.js";
import { type CFunction, type Koffi, loadKoffi } from "./koffi.js";
import { type Bound, isLike, isOver, numberOf } from "./ort-library.js";

/** Functions of OpenVINO's C API (openvino/c/openvino.h, since 2022.3). All return a status. */
const API = {
  ov_core_create: ["void *"],
  ov_core_set_property: ["uint64_t", "const char *", "..."],
  ov_core_read_model_from_memory_buffer: ["uint64_t", "void *", "size_t", "uint64_t", "void *"],
  // of a variable number of properties, none is given: such functions cannot be called in another thread
  ov_core_compile_model: ["uint64_t", "uint64_t", "const char *", "size_t", "void *"],
  ov_compiled_model_create_infer_request: ["uint64_t", "void *"],
  ov_tensor_create_from_host_ptr: ["int", "ov_shape_t", "void *", "void *"],
  ov_compiled_model_inputs_size: ["uint64_t", "void *"],
  ov_compiled_model_outputs_size: ["uint64_t", "void *"],
  ov_compiled_model_input_by_index: ["uint64_t", "size_t", "void *"],
  ov_compiled_model_output_by_index: ["uint64_t", "size_t", "void *"],
  ov_port_get_any_name: ["uint64_t", "void *"],
  ov_infer_request_set_input_tensor_by_index: ["uint64_t", "size_t", "uint64_t"],
  ov_infer_request_set_output_tensor_by_index: ["uint64_t", "size_t", "uint64_t"],
  ov_infer_request_set_tensor: ["uint64_t", "const char *", "uint64_t"],
  ov_infer_request_infer: ["uint64_t"],
} as const;

/** Functions that give a handle back. */
const FREE = [
  "ov_model_free",
  "ov_compiled_model_free",
  "ov_infer_request_free",
  "ov_tensor_free",
  "ov_output_const_port_free",
  "ov_free",
] as const;

/** ov_element_type_e */
const ELEMENT: Readonly<Partial<Record<DType, number>>> = {
  bool: 1,
  bf16: 2,
  f16: 3,
  f32: 4,
  f64: 5,
  i8: 7,
  i16: 8,
  i32: 9,
  i64: 10,
  u8: 16,
};

/** Tensors kept: a step has a few thousand. */
const MOST_TENSORS = 2 ** 14;

/** No tensor of the graph language has more. */
const MOST_AXES = 8;

/** Kernels that a program keeps beside those of its present size. */
const KERNELS = 5;

/**
 * How many kernels the plugin's library keeps for all programs together: an environment variable that it reads when it is
 * loaded. They take 0.5 MB each; a step of a new number of tokens needs some thirty new ones. Without it, 1024.
 */
export const LIBRARY_CACHE = { name: "ONEDNN_PRIMITIVE_CACHE_CAPACITY", value: "128" };

type Handle = bigint;
type TensorsOver = (tensor: HostTensor) => Made;

interface Native {
  /** Calls a function. Throws Error with the library's message when it reports one. */
  readonly call: (name: keyof typeof API, ...args: unknown[]) => void;
  /** Calls a function whose last argument receives a handle, and returns it. */
  readonly make: (name: keyof typeof API, ...args: unknown[]) => Handle;
  /** The same in a thread of its own. */
  readonly makeAside: (name: keyof typeof API, ...args: unknown[]) => Promise<Handle>;
  readonly free: (name: (typeof FREE)[number], handle: Handle) => void;
  readonly addressOf: (data: BigInt64Array) => bigint;
  readonly textAt: (address: Handle) => string;
}

export interface OpenVinoOptions {
  /** Path of libopenvino_c. */
  readonly library: string;
  /** 0: as many as OpenVINO thinks best. */
  readonly threads: number;
  /** What products are computed in. Inputs and results are as the model says. */
  readonly precision: "f32" | "bf16";
}

/**
 * OpenVINO's CPU plugin through its C library: takes plain ONNX, reads inputs and writes outputs in place. Throws Error
 * where koffi or the library cannot be loaded.
 */
export function openvinoEngine({ library, threads, precision }: OpenVinoOptions): Engine {
  const native = loadLibrary(library);
  let core: Handle | undefined;
  const tensors = tensorsOver(native);
  return {
    loadsAhead: true,
    async load(model) {
      core ??= newCore(native, { threads, precision });
      const read = await native.makeAside("ov_core_read_model_from_memory_buffer", core, model, model.length, 0n);
      try {
        const compiled = await native.makeAside("ov_core_compile_model", core, read, "CPU", 0);
        return openvinoSession(native, compiled, tensors);
      } finally {
        native.free("ov_model_free", read);
      }
    },
  };
}

/** What compiles programs. */
function newCore(native: Native, { threads, precision }: Omit<OpenVinoOptions, "library">): Handle {
  const core = native.make("ov_core_create");
  const set = (key: string, value: string) =>
    native.call("ov_core_set_property", core, "CPU", "const char *", key, "const char *", value);
  set("INFERENCE_PRECISION_HINT", precision);
  set("PERFORMANCE_HINT", "LATENCY");
  set("CPU_RUNTIME_CACHE_CAPACITY", String(KERNELS));
  if (threads) set("INFERENCE_NUM_THREADS", String(threads));
  return core;
}

/** A tensor of the engine's over host memory. */
interface Made extends Bound {
  readonly handle: Handle;
}

/** Tensors over host memory, by buffer and offset, kept from run to run: to make one takes longer than to find it. */
function tensorsOver(native: Native): TensorsOver {
  const made = new Map<number, Map<number, Made[]>>();
  let count = 0;
  const dims = new BigInt64Array(new ArrayBuffer(8 * MOST_AXES)); // memory of its own: small arrays move with V8's heap
  const dimsAt = native.addressOf(dims);
  const forget = () => {
    const all = [...made.values()].flatMap((at) => [...at.values()].flat());
    for (const { handle } of all) native.free("ov_tensor_free", handle);
    made.clear();
    count = 0;
  };
  return (tensor) => {
    const { dtype, shape, data } = tensor;
    const [buffer, offset] = [numberOf(data.buffer), data.byteOffset];
    const known = made
      .get(buffer)
      ?.get(offset)
      ?.find((m) => isLike(m, tensor));
    if (known) return known;
    if (count++ >= MOST_TENSORS) forget();
    for (let i = 0; i < shape.length; i++) dims[i] = BigInt(shape[i]!);
    const described = { rank: shape.length, dims: dimsAt };
    const handle = native.make("ov_tensor_create_from_host_ptr", ELEMENT[dtype], described, data);
    const fresh = { buffer, offset, dtype, shape, handle };
    const offsets = made.get(buffer) ?? new Map<number, Made[]>();
    made.set(buffer, offsets.set(offset, [...(offsets.get(offset) ?? []), fresh]));
    return fresh;
  };
}

function openvinoSession(native: Native, compiled: Handle, tensorOver: TensorsOver): EngineSession {
  const request = native.make("ov_compiled_model_create_infer_request", compiled);
  const sides = {
    input: new Side(native, request, compiled, "input", tensorOver),
    output: new Side(native, request, compiled, "output", tensorOver),
  };
  return {
    run(feeds, fetches) {
      sides.input.bind(feeds);
      sides.output.bind(fetches);
      native.call("ov_infer_request_infer", request);
    },
    release() {
      native.free("ov_infer_request_free", request);
      native.free("ov_compiled_model_free", compiled);
    },
  };
}

/** The inputs or the outputs of a session. They are bound by their numbers: by their names takes three times as long. */
class Side {
  private readonly native: Native;
  private readonly request: Handle;
  private readonly setter: keyof typeof API;
  private readonly tensorOver: TensorsOver;
  private readonly numbers = new Map<string, number>();
  private readonly bound: Made[] = [];

  constructor(native: Native, request: Handle, compiled: Handle, side: "input" | "output", tensorOver: TensorsOver) {
    this.native = native;
    this.request = request;
    this.setter = `ov_infer_request_set_${side}_tensor_by_index`;
    this.tensorOver = tensorOver;
    const count = Number(native.make(`ov_compiled_model_${side}s_size`, compiled));
    for (let i = 0; i < count; i++) {
      const port = native.make(`ov_compiled_model_${side}_by_index`, compiled, i);
      const name = native.make("ov_port_get_any_name", port);
      this.numbers.set(native.textAt(name), i);
      native.free("ov_free", name);
      native.free("ov_output_const_port_free", port);
    }
  }

  bind(tensors: Readonly<Record<string, HostTensor>>): void {
    for (const name in tensors) {
      if (!sizeOf(tensors[name]!.shape)) continue;
      const number = this.numbers.get(name);
      if (number === undefined) {
        // A result that the engine computes together with another value has both names, and tells either.
        this.native.call("ov_infer_request_set_tensor", this.request, name, this.tensorOver(tensors[name]!).handle);
        continue;
      }
      if (isOver(this.bound[number], tensors[name]!)) continue;
      this.bound[number] = this.tensorOver(tensors[name]!);
      this.native.call(this.setter, this.request, number, this.bound[number].handle);
    }
  }
}

/** mallopt(3): blocks of so many bytes and more are mapped on their own, and go back to the system when they are freed. */
const [M_MMAP_THRESHOLD, MAPPED_BYTES] = [-3, 2 ** 20];

/** glibc would raise that limit with each larger block that is freed, and then keep the buffers of every batch's size. */
function returnFreedMemory(koffi: Koffi): void {
  if (process.platform !== "linux") return;
  try {
    koffi.load("libc.so.6").func("mallopt", "int", ["int", "int"])(M_MMAP_THRESHOLD, MAPPED_BYTES);
  } catch {
    // another C library, with ways of its own
  }
}

function loadLibrary(path: string): Native {
  const koffi = loadKoffi();
  returnFreedMemory(koffi);
  const library = koffi.load(path);
  const types = { ov_shape_t: koffi.struct({ rank: "int64_t", dims: "uint64_t" }) } as Record<string, unknown>;
  const functions = new Map<string, CFunction>();
  for (const [name, parameters] of Object.entries(API)) {
    const known = parameters.map((p) => types[p] ?? p);
    functions.set(name, library.func(name, "int", known as never));
  }
  for (const name of FREE) functions.set(name, library.func(name, "void", ["uint64_t"]));
  const lastMessage = library.func("ov_get_last_err_msg", "const char *", []);
  const check = (name: string, status: number): void => {
    if (status) throw new Error(`OpenVINO ${name}: ${lastMessage() || `status ${status}`}`);
  };
  const call: Native["call"] = (name, ...args) => check(name, functions.get(name)!(...args) as number);
  const handle = () => new BigUint64Array(new ArrayBuffer(8)); // memory of its own, see `tensorsOver`
  const made = handle();
  return {
    call,
    make: (name, ...args) => {
      call(name, ...args, made);
      return made[0]!;
    },
    makeAside: async (name, ...args) => {
      const out = handle();
      const begin: (...args: unknown[]) => Promise<number> = promisify(functions.get(name)!.async as never);
      check(name, await begin(...args, out));
      return out[0]!;
    },
    free: (name, handle) => void functions.get(name)!(handle),
    addressOf: (data) => koffi.address(data),
    textAt: (address) => koffi.decode(address, "char", -1) as string,
  };
}
