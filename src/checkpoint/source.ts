import type { DType, Shape } from "../tensor/index.js";

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
  /**
   * Reads one tensor widened to fp32, in chunks that never hold the event loop for more than a few milliseconds.
   * Throws UserError when `name` is not there or the file is damaged.
   */
  read(name: string): Promise<Float32Array>;
  close(): Promise<void>;
}
