import type { Fn } from "../graph/index.js";
import type { Provider } from "../onnx/index.js";
import {
  BYTES,
  blockBytes,
  bytesOf,
  CODECS,
  type CodecName,
  type DType,
  type HostTensor,
  type Shape,
  sizeOf,
  type TypedArray,
} from "../tensor/index.js";
import type { Data } from "./data.js";

/** Memory on a device, by number. */
export interface Buffer {
  readonly id: number;
  readonly bytes: number;
  /** Its bytes stay in a file. */
  readonly inFile?: boolean;
}

/** A tensor in a sub-range of a buffer; `offset` is in bytes. Views share memory, nothing is copied. */
export interface View {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly dtype: DType;
  readonly shape: Shape;
  /**
   * How an fp32 tensor is stored, when not as it is. Encoded views are uploaded as they are stored; as inputs of runs, copied from or
   * downloaded, they are what they decode to. Nothing else takes them.
   */
  readonly codec?: CodecName;
}

/** Where the bytes of a buffer lie in a file. */
export interface FilePlace {
  readonly path: string;
  /** First byte. */
  readonly offset: number;
  readonly bytes: number;
  /** Where each of the file's rows belongs; default: in the file's order. */
  readonly rowTo?: Uint32Array;
}

/** A compiled function. `inputs` are the ones its graph reads; others may be fed and are ignored. */
export interface Program {
  readonly id: number;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** Views under the names of inputs, for runs that read the same ones again and again. */
export interface Bound {
  readonly id: number;
  readonly names: ReadonlySet<string>;
}

/** "reduced": the program bears products in bf16 where the device computes them so. Default "full". */
export type Precision = "full" | "reduced";

export interface DeviceMemory {
  /** Resident bytes of the process now, and its highest so far. */
  readonly resident: number;
  readonly peak: number;
  /** Bytes in this device's buffers. */
  readonly buffers: number;
  /** Milliseconds that runs have waited for buffers that stay in files. */
  readonly fileWaitMs?: number;
}

/** Part of a tensor that is copied: `size` entries along each axis, from `from` on in one and from `to` on in the other. */
export interface Box {
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly size: readonly number[];
}

/**
 * Memory that a device owns, an engine that computes in it, and a queue: what is asked for is done in the order given. Everything but
 * `download`, `flush` and `memory` only queues and returns at once; an error in the queue surfaces at the next of those three, and
 * the queue stops there.
 */
export interface Device {
  readonly provider: Provider;
  /** "reduced" where programs of reduced precision are computed so. */
  readonly precision: Precision;
  /** The inputs that runs of `f` also write, in place: caches to which this device's `cachedAttention` adds. */
  updates(f: Fn): readonly string[];
  memory(): Promise<DeviceMemory>;

  /** Zero-filled memory; or the bytes of a file, which stay there: encoded views of it are read each time they are decoded. */
  allocate(room: number | FilePlace): Buffer;
  free(buffer: Buffer): void;
  /** Copies data in. An array is handed over: do not use it afterwards. */
  upload(view: View, data: Data): void;
  /** Copies all of a view, or these parts of it: parts need views of as many axes, and those of encoded views be whole blocks. */
  copy(from: View, to: View, parts?: readonly Box[]): void;
  download(view: View): Promise<TypedArray>;

  /**
   * Compiles once; the program may be run any number of times. Encoded inputs are decoded into memory that every program with an
   * input of that name shares and that goes with the last of them; what is there already is not decoded again. `fixed` inputs are
   * the same in every run: the program keeps them, and `run` neither needs nor sends them.
   */
  compile(f: Fn, precision?: Precision, fixed?: Readonly<Record<string, View>>): Program;
  release(program: Program): void;
  /** Names views once for many runs: to name hundreds with each takes longer than some runs. Free none before `unbind`. */
  bind(views: Readonly<Record<string, View>>): Bound;
  unbind(bound: Bound): void;
  /**
   * Fills every output view. Views must have the dtypes and shapes the function declares; outputs never overlap inputs. What is
   * `bound` are inputs too, all of them the program's.
   */
  run(
    program: Program,
    inputs: Readonly<Record<string, View>>,
    outputs: Readonly<Record<string, View>>,
    bound?: readonly Bound[],
  ): void;

  /**
   * Hands on what `record` queues as work of its own: when it fails, only the returned promise tells, the rest of it but `free`
   * and `release` is left out, and the queue goes on. `record` waits for nothing and asks for no answers. Returns the milliseconds
   * that the device worked on it, however late they are heard of.
   */
  apart(record: () => void): Promise<number>;
  flush(): Promise<void>;
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

/** An encoded view of the whole of `buffer`. Throws RangeError when its size is not that of the shape. */
export function encodedView(buffer: Buffer, codec: CodecName, shape: Shape): View {
  if (buffer.bytes !== encodedBytes(codec, shape)) {
    throw new RangeError(
      `${codec}[${shape}] takes ${encodedBytes(codec, shape)} bytes, the buffer has ${buffer.bytes}`,
    );
  }
  return { buffer, dtype: "f32", shape, offset: 0, codec };
}

/** Bytes of an encoded tensor. Throws RangeError when it is not a whole number of blocks. */
export function encodedBytes(codec: CodecName, shape: Shape): number {
  const { block } = CODECS[codec];
  const size = sizeOf(shape);
  if (size % block !== 0) throw new RangeError(`[${shape}] is not a whole number of ${codec} blocks of ${block}`);
  return blockBytes(CODECS[codec], size / block);
}

/** Bytes of a view as it is stored. */
export function storedBytes({ dtype, shape, codec }: View): number {
  return codec ? encodedBytes(codec, shape) : bytesOf(dtype, shape);
}

/** Rows [start, start + count) of a view along its first axis. Throws RangeError when it has no such rows. */
export function rowsOf(v: View, start: number, count: number): View {
  refuseEncoded(v);
  if (start < 0 || count < 0 || start + count > (v.shape[0] ?? 0)) {
    throw new RangeError(`rows ${start} ... ${start + count} of ${v.dtype}[${v.shape}]`);
  }
  const row = v.shape.slice(1).reduce((n, d) => n * d, BYTES[v.dtype]);
  return view(v.buffer, v.dtype, [count, ...v.shape.slice(1)], v.offset + start * row);
}

/** The same memory in another shape of no more elements. */
export function reshaped(v: View, shape: Shape): View {
  refuseEncoded(v);
  return view(v.buffer, v.dtype, shape, v.offset);
}

/** Throws RangeError for encoded views, where only memory as it is will do. */
export function refuseEncoded(...views: readonly View[]): void {
  for (const { codec, shape } of views)
    if (codec) throw new RangeError(`[${shape}] is stored as ${codec}, fp32 is needed`);
}

/** Allocates a buffer and views all of it. */
export function tensor(device: Device, dtype: DType, shape: Shape): View {
  return view(device.allocate(Math.max(1, bytesOf(dtype, shape))), dtype, shape);
}

/** Copies rows `ids` of a view to [ids, ...]. */
export function copyRows(device: Device, from: View, ids: readonly number[], to: View): void {
  const rest = from.shape.slice(1);
  const zeros = rest.map(() => 0);
  const row = (id: number, i: number): Box => ({ from: [id, ...zeros], to: [i, ...zeros], size: [1, ...rest] });
  device.copy(from, to, ids.map(row));
}

/** Copies [ids, ...] to the rows `ids` of a view: the reverse of `copyRows`. */
export function putRows(device: Device, from: View, ids: readonly number[], to: View): void {
  const rest = to.shape.slice(1);
  const zeros = rest.map(() => 0);
  const row = (id: number, i: number): Box => ({ from: [i, ...zeros], to: [id, ...zeros], size: [1, ...rest] });
  device.copy(from, to, ids.map(row));
}

/** Tensors in memory of their own on a device, by name; what was given stays the caller's. */
export function uploadTensors(device: Device, tensors: ReadonlyMap<string, HostTensor>): Map<string, View> {
  const views = new Map<string, View>();
  for (const [name, { dtype, shape, data }] of tensors) {
    const view = tensor(device, dtype, shape);
    device.upload(view, data.slice() as TypedArray);
    views.set(name, view);
  }
  return views;
}
