import type { ModelConfig } from "./config.js";

/**
 * What a block is written in. T is a value of one run: of a graph (training, decoding), of an ONNX file, or of plain numbers.
 * Every value is [n, width], a row for each token.
 */
export interface BlockOps<T> {
  readonly config: ModelConfig;
  /** x [n, in] times the transposed weight of a linear layer, with its bias and adapter, where it has them: [n, out]. */
  linear(name: string, x: T): T;
  /** RMSNorm (Zhang & Sennrich 2019) of rows, each of `heads` parts by itself, with the weight of that name. Default 1 part. */
  norm(name: string, x: T, heads?: number): T;
  /** Rotary positions on each of `heads` heads of x, as this block has them; x itself where it has none. */
  rotate(x: T, heads: number): T;
  add(a: T, b: T): T;
  scale(x: T, factor: number): T;
  /** The MLP's activation of the gate, times `up`. */
  gated(gate: T, up: T): T;
  /** Columns of x in parts of these widths. */
  split(x: T, widths: readonly number[]): T[];
}

/** Queries [n, H hd], keys and values [n, KV hd]; queries and keys are rotated. */
export interface Projections<T> {
  readonly q: T;
  readonly k: T;
  readonly v: T;
}

/** A kind of block: what stands before and behind its attention. x and the result are the residual stream [n, D]. */
export interface Block {
  /** Its norms over the residual stream, in the published order. */
  readonly norms: readonly string[];
  attentionInput<T>(ops: BlockOps<T>, x: T): Projections<T>;
  /** `o` is what attention gives, [n, H hd]. */
  attentionOutput<T>(ops: BlockOps<T>, x: T, o: T): T;
}
