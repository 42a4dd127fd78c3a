import { BYTES, UserError } from "../tensor/index.js";

/** Buffers grow in 8-byte steps so that any dtype can view them. */
export const padded = (bytes: number): number => Math.ceil(bytes / BYTES.f64) * BYTES.f64;

/** Zero-filled memory. Throws UserError when there is none. */
export function allocate(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(padded(bytes));
  } catch (error) {
    throw new UserError(`cannot allocate ${(bytes / 1e9).toFixed(2)} GB: out of memory`, { cause: error });
  }
}
