import {
  add,
  attention,
  define,
  type Fn,
  gather,
  input,
  isOpen,
  mul,
  reshape,
  rmsNorm,
  rope,
  substitute,
  swiglu,
  transpose,
  type Value,
} from "../graph/index.js";
import type { LlamaConfig } from "./config.js";
import { type Adaptation, linear } from "./linear.js";

/** Token ids [N] to the residual stream [N, D]. */
export function embed(config: LlamaConfig, n: number): Fn {
  return define("embed", (declare) => ({
    x: gather(declare("embed_tokens.weight", [config.vocabSize, config.hiddenSize]), declare("ids", [n], "i64")),
  }));
}

/**
 * The first part of a block, all tokens at once: x [N, D] to q [N, H hd], k and v [N, KV hd]. q and k are rotated by cos, sin
 * [N, hd/2], the rotary tables' rows of each token's position.
 */
export function attentionInput(config: LlamaConfig, n: number, adaptation: Adaptation): Fn {
  return define("attention_input", (declare) => {
    const x = declare("x", [n, config.hiddenSize]);
    const h = rmsNorm(x, declare("input_layernorm.weight", [config.hiddenSize]), config.rmsNormEps);
    const [q, k, v] = (["q_proj", "k_proj", "v_proj"] as const).map((name) =>
      linear(declare, config, name, h, adaptation),
    ) as [Value, Value, Value];
    const half = config.headDim / 2;
    const [cos, sin] = [declare("cos", [n, half]), declare("sin", [n, half])];
    const rotated = (y: Value) => {
      const heads = reshape(y, [n, y.shape[1]! / config.headDim, config.headDim]);
      return reshape(rope(heads, cos, sin), y.shape);
    };
    return { q: rotated(q), k: rotated(k), v };
  });
}

/** Queries of one sequence attended at once: scores stay in the cache, and what the mask hides is not computed. */
const QUERY_BLOCK = 128;

/**
 * Attention within one sequence: q [T, H, hd] and k [T, KV, hd], both rotated, and v [T, KV, hd] to o [T, H, hd]. The mask
 * [T, T] is an input too: all layers share it.
 */
export function selfAttention(config: LlamaConfig, t: number): Fn {
  const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim: hd } = config;
  return define("self_attention", (declare) => {
    const byHead = (name: string, count: number) => transpose(declare(name, [t, count, hd]), 1, 0, 2);
    const [q, k, v] = [byHead("q", heads), byHead("k", kv), byHead("v", kv)];
    return { o: attention(q, k, v, declare("mask", [t, t]), hd ** -0.5, isOpen(t) ? 0 : QUERY_BLOCK) };
  });
}

/** The backward of `selfAttention` where only rows with 1 in `valid` [T, 1, 1] count: what comes in for the others is dropped. */
export function ofValidRows(backward: Fn): Fn {
  const d = backward.inputs.d_o!;
  const valid = input("valid", { dtype: "f32", shape: [d.shape[0]!, 1, 1] });
  const names = Object.keys(backward.outputs);
  const values = substitute(Object.values(backward.outputs), new Map([[d, mul(d, valid)]]));
  const outputs = Object.fromEntries(names.map((name, i) => [name, values[i]!]));
  return { ...backward, inputs: { ...backward.inputs, valid }, outputs };
}

/** The rest of a block: o [N, H hd] back into the residual stream x [N, D], then the SwiGLU MLP (Shazeer 2020). */
export function attentionOutput(config: LlamaConfig, n: number, adaptation: Adaptation): Fn {
  return define("attention_output", (declare) => {
    const { hiddenSize: d, numAttentionHeads, headDim } = config;
    const x = declare("x", [n, d]);
    const o = declare("o", [n, numAttentionHeads * headDim]);
    const middle = add(x, linear(declare, config, "o_proj", o, adaptation));
    const h = rmsNorm(middle, declare("post_attention_layernorm.weight", [d]), config.rmsNormEps);
    const gate = linear(declare, config, "gate_proj", h, adaptation);
    const up = linear(declare, config, "up_proj", h, adaptation);
    return { y: add(middle, linear(declare, config, "down_proj", swiglu(gate, up), adaptation)) };
  });
}
