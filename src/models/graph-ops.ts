import {
  add,
  concat,
  type Declare,
  div,
  mul,
  reshape,
  rmsNorm,
  rope,
  scalar,
  slice,
  swiglu,
  tanh,
  type Value,
} from "../graph/index.js";
import type { BlockOps } from "./block.js";
import { blockNorms, type ModelConfig } from "./config.js";

/** What differs between the graphs that a block is built into. */
export interface GraphOptions {
  /** Declares a weight of the block: `q_norm.weight`. */
  readonly declare: Declare;
  /** A linear layer with what this graph adds to it. */
  readonly linear: (name: string, x: Value) => Value;
  /** Rotary tables [n, rotaryDim / 2] of each row's position; undefined: this block has none. */
  readonly rotation: (() => readonly [cos: Value, sin: Value]) | undefined;
}

/** The operations of a block as nodes of a graph; values are [n, width]. */
export function graphOps(config: ModelConfig, { declare, linear, rotation }: GraphOptions): BlockOps<Value> {
  const norms = blockNorms(config);
  return {
    config,
    linear,
    add,
    scale: scaled,
    norm(name, x, heads = 1) {
      const width = norms.get(name)!;
      const rows = heads === 1 ? x : reshape(x, [x.shape[0]!, heads, width]);
      return reshape(normed(config, rows, declare(`${name}.weight`, [width])), x.shape);
    },
    rotate(x, heads) {
      if (!rotation) return x;
      const byHead = reshape(x, [x.shape[0]!, heads, config.headDim]);
      return reshape(rotated(config, byHead, ...rotation()), x.shape);
    },
    gated: (gate, up) => (config.activation === "gelu_tanh" ? mul(geluTanh(gate), up) : swiglu(gate, up)),
    split(x, widths) {
      let start = 0;
      return widths.map((width) => slice(x, 1, start, (start += width)));
    },
  };
}

/** x times a number; x itself where that is 1. */
export const scaled = (x: Value, factor: number): Value => (factor === 1 ? x : mul(x, scalar(factor)));

/** RMSNorm by a weight as this model stores it. */
export function normed(config: ModelConfig, x: Value, weight: Value): Value {
  return rmsNorm(x, config.unitOffsetNorm ? add(weight, scalar(1)) : weight, config.rmsNormEps);
}

/** cap tanh(x / cap); x itself without a cap. */
export const softcapped = (x: Value, cap: number | undefined): Value =>
  cap === undefined ? x : mul(tanh(div(x, scalar(cap))), scalar(cap));

/** Rotary positions on x [n, heads, hd], of which the first `rotaryDim` dimensions turn. */
function rotated({ headDim, rotaryDim = headDim }: ModelConfig, x: Value, cos: Value, sin: Value): Value {
  if (rotaryDim === headDim) return rope(x, cos, sin);
  return concat([rope(slice(x, 2, 0, rotaryDim), cos, sin), slice(x, 2, rotaryDim, headDim)], 2);
}

/** GELU by its tanh formula (Hendrycks & Gimpel 2016), PyTorch's `approximate="tanh"`. */
function geluTanh(x: Value): Value {
  const inner = mul(x, add(mul(mul(x, x), scalar(0.044715 * Math.sqrt(2 / Math.PI))), scalar(Math.sqrt(2 / Math.PI))));
  return mul(mul(x, scalar(0.5)), add(tanh(inner), scalar(1)));
}
