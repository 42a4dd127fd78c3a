import type { DType, Shape } from "../tensor/index.js";
import type { OpenFile } from "./files.js";

/** One tensor as stored: HF name, HF layout ([out, in], rotate-half q/k), storage dtype or GGUF type name. */
export interface StoredTensor {
  readonly name: string;
  readonly shape: Shape;
  /** Safetensors dtype, or the GGUF quantisation ("q4_1", "q6_k", ...). */
  readonly stored: DType | string;
  readonly bytes: number;
}

/** A checkpoint's tensors, readable one at a time. */
export interface TensorSource {
  readonly format: "safetensors" | "gguf";
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** What they are read from. */
  readonly files: readonly OpenFile[];
  /**
   * Reads one tensor widened to fp32, in chunks that never hold the event loop for more than a few milliseconds, into
   * `target` (as long as the tensor) or a new array. Memory beyond the result: one chunk of at most 4 MB.
   * Throws UserError when `name` is not there, is of a type without fp32 values, or the file is damaged.
   */
  read(name: string, target?: Float32Array): Promise<Float32Array>;
  /**
   * Reads one tensor's bytes as stored (little-endian, or GGUF blocks that `CODECS[stored]` decodes), its rows in HF
   * order, into `target` or a new array.
   */
  readRaw(name: string, target?: Uint8Array): Promise<Uint8Array>;
  /** Where the bytes that `readRaw` gives lie. */
  place(name: string): TensorPlace;
  close(): Promise<void>;
}

/** A tensor's bytes in a file. */
export interface TensorPlace {
  readonly path: string;
  /** First byte. */
  readonly offset: number;
  readonly bytes: number;
  /** Where each of the file's rows belongs in HF order; default: they are in it. */
  readonly rowTo?: Uint32Array;
}
