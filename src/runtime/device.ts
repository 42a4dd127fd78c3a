import type { Fn } from "../graph/index.js";
import type { Provider } from "../onnx/index.js";
import { BYTES, bytesOf, type DType, type Shape, type TypedArray } from "../tensor/index.js";

/** Memory on a device, by number. */
export interface Buffer {
  readonly id: number;
  readonly bytes: number;
}

/** A tensor in a sub-range of a buffer; `offset` is in bytes. Views share memory, nothing is copied. */
export interface View {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A compiled function. `inputs` are the ones its graph reads; others may be fed and are ignored. */
export interface Program {
  readonly id: number;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** "reduced": the program bears products in bf16 where the device computes them so. Default "full". */
export type Precision = "full" | "reduced";

export interface DeviceMemory {
  /** Resident bytes of the process now, and its highest so far. */
  readonly resident: number;
  readonly peak: number;
  /** Bytes in this device's buffers. */
  readonly buffers: number;
}

/**
 * An engine that owns buffers and runs programs in the order given. Everything but `download`, `flush` and `memory` only
 * queues and returns at once; an error in the queue surfaces at the next of those three, and the queue stops there.
 */
export interface Device {
  readonly provider: Provider | "reference";
  /** "reduced" where programs of reduced precision are computed so. */
  readonly precision: Precision;
  /** Zero-filled memory. */
  allocate(bytes: number): Buffer;
  free(buffer: Buffer): void;
  /** Compiles once; the program may be run any number of times. */
  compile(f: Fn, precision?: Precision): Program;
  release(program: Program): void;
  /** Fills every output view. Views must have the dtypes and shapes the function declares; outputs never overlap inputs. */
  run(program: Program, inputs: Readonly<Record<string, View>>, outputs: Readonly<Record<string, View>>): void;
  /** Copies data in. The array is handed over: do not use it afterwards. */
  upload(view: View, data: TypedArray): void;
  copy(from: View, to: View): void;
  /** Copies from [G, T, w] into rows [at, at + T) of every group of to [G, C, w]: how a KV cache grows. */
  copyRows(from: View, to: View, at: number): void;
  /**
   * Fills an f32 view with an inverted dropout mask: 1/keep with probability `keep`, else 0, drawn from the seeded stream
   * of `labels`. The same labels give the same mask.
   */
  dropoutMask(view: View, keep: number, seed: number, labels: readonly (string | number)[]): void;
  download(view: View): Promise<TypedArray>;
  flush(): Promise<void>;
  memory(): Promise<DeviceMemory>;
  dispose(): Promise<void>;
}

/** A view of a whole buffer or of a part of it. Throws RangeError when it does not fit or is not aligned to its dtype. */
export function view(buffer: Buffer, dtype: DType, shape: Shape, offset = 0): View {
  if (offset < 0 || offset + bytesOf(dtype, shape) > buffer.bytes) {
    throw new RangeError(`view ${dtype}[${shape}] at byte ${offset} does not fit a buffer of ${buffer.bytes} bytes`);
  }
  if (offset % BYTES[dtype] !== 0) {
    throw new RangeError(`view ${dtype}[${shape}] at byte ${offset}: not a multiple of ${BYTES[dtype]}`);
  }
  return { buffer, dtype, shape, offset };
}

/** Rows [start, start + count) of a view along its first axis. Throws RangeError when it has no such rows. */
export function rowsOf(v: View, start: number, count: number): View {
  if (start < 0 || count < 0 || start + count > (v.shape[0] ?? 0)) {
    throw new RangeError(`rows ${start} ... ${start + count} of ${v.dtype}[${v.shape}]`);
  }
  const row = v.shape.slice(1).reduce((n, d) => n * d, BYTES[v.dtype]);
  return view(v.buffer, v.dtype, [count, ...v.shape.slice(1)], v.offset + start * row);
}

/** The same memory in another shape of no more elements. */
export function reshaped(v: View, shape: Shape): View {
  return view(v.buffer, v.dtype, shape, v.offset);
}

/** Allocates a buffer and views all of it. */
export function tensor(device: Device, dtype: DType, shape: Shape): View {
  return view(device.allocate(Math.max(1, bytesOf(dtype, shape))), dtype, shape);
}
