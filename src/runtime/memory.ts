import { ARRAYS, BYTES, type HostTensor, sizeOf, UserError } from "../tensor/index.js";
import type { View } from "./device.js";

/** `bytes` bytes from byte `from` of one memory on, to byte `to` of another. */
export interface Range {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
}

/**
 * What an executor's buffers are made of (`M`), and how its engine is given parts of them (`T`). It need not be the host's: bytes go
 * in and out through `write` and `read` alone. Whatever is done is done in order; a promise says when what was asked for is there.
 */
export interface Memory<M, T> {
  /** Zero-filled. Throws UserError when there is none. */
  allocate(bytes: number): M;
  free?(memory: M): void;
  /** Makes memory of an array that was handed over, where the two are alike. */
  adopt?(data: ArrayBuffer): M;
  /** Bytes as they are now, to be read at once: they may change with the memory. */
  read(memory: M, at: number, bytes: number): Uint8Array | Promise<Uint8Array>;
  /** Writes what `fill` puts into all of the bytes that it is given. */
  write(memory: M, at: number, bytes: number, fill: (into: Uint8Array) => void): void | Promise<void>;
  /** Ranges of one memory do not overlap. */
  copy(from: M, to: M, ranges: readonly Range[]): void | Promise<void>;
  tensor(memory: M, view: Pick<View, "dtype" | "shape" | "offset">): T;
}

/** Buffers grow in 8-byte steps so that any dtype can view them. */
export const padded = (bytes: number): number => Math.ceil(bytes / BYTES.f64) * BYTES.f64;

/**
 * The host's own memory: views are typed arrays over it, and nothing is copied. `adopts`: what is uploaded was handed over, so that it
 * may become a buffer.
 */
export function hostMemory({ adopts = false } = {}): Memory<ArrayBuffer, HostTensor> {
  return {
    allocate(bytes) {
      try {
        return new ArrayBuffer(padded(bytes));
      } catch (error) {
        throw new UserError(`cannot allocate ${(bytes / 1e9).toFixed(2)} GB: out of memory`, { cause: error });
      }
    },
    ...(adopts ? { adopt: (data: ArrayBuffer) => data } : {}),
    read: (memory, at, bytes) => new Uint8Array(memory, at, bytes),
    write: (memory, at, bytes, fill) => fill(new Uint8Array(memory, at, bytes)),
    copy: copyRanges,
    tensor: (memory, { dtype, shape, offset }) => ({
      dtype,
      shape,
      data: new ARRAYS[dtype](memory, offset, sizeOf(shape)),
    }),
  };
}

/** Bytes from which on the engine's own copy is faster than a loop. */
const LONG = 2048;

function copyRanges(from: ArrayBuffer, to: ArrayBuffer, ranges: readonly Range[]): void {
  const [bytes, into] = [new Uint8Array(from), new Uint8Array(to)];
  const [words, intoWords] = [new Uint32Array(from), new Uint32Array(to)];
  for (const { from: start, to: at, bytes: count } of ranges) {
    if (count >= LONG || (start | at | count) % BYTES.f32 !== 0) into.set(bytes.subarray(start, start + count), at);
    else for (let i = 0; i < count >> 2; i++) intoWords[(at >> 2) + i] = words[(start >> 2) + i]!;
  }
}
