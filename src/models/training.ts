import {
  add,
  attention,
  type Declare,
  define,
  type Fn,
  gather,
  input,
  isOpen,
  mul,
  substitute,
  transpose,
  type Value,
} from "../graph/index.js";
import type { BlockOps } from "./block.js";
import { BLOCKS } from "./blocks/index.js";
import type { LayerKind, LinearName, ModelConfig } from "./config.js";
import { graphOps, scaled } from "./graph-ops.js";
import { type Adaptation, linear } from "./linear.js";

/** Token ids [N] to the residual stream [N, D]. */
export function embed(config: ModelConfig, n: number): Fn {
  return define("embed", (declare) => {
    const table = declare("embed_tokens.weight", [config.vocabSize, config.hiddenSize]);
    return { x: scaled(gather(table, declare("ids", [n], "i64")), config.embeddingScale ?? 1) };
  });
}

/** x [N, D] times the embedding's factor, where its rows are read without a program. */
export function scaleEmbedding(config: ModelConfig, n: number): Fn {
  return define("scale_embedding", (declare) => ({
    y: scaled(declare("x", [n, config.hiddenSize]), config.embeddingScale ?? 1),
  }));
}

/** x [N, D] with noise added. */
export function addNoise(config: ModelConfig, n: number): Fn {
  return define("add_noise", (declare) => {
    const [x, noise] = [declare("x", [n, config.hiddenSize]), declare("noise", [n, config.hiddenSize])];
    return { y: add(x, noise) };
  });
}

/** A layer's kind as far as its programs differ; default: rotated by the model's own frequencies, without a window. */
export type KindOfLayer = Pick<LayerKind, "rope" | "window">;

const PLAIN: KindOfLayer = { rope: "global" };

function trainingOps(
  declare: Declare,
  config: ModelConfig,
  n: number,
  adaptation: Adaptation,
  kind: KindOfLayer,
): BlockOps<Value> {
  const half = (config.rotaryDim ?? config.headDim) / 2;
  const table = (name: "cos" | "sin") => declare(name, [n, half]);
  return graphOps(config, {
    declare,
    linear: (name, x) => linear(declare, config, name as LinearName, x, adaptation),
    rotation: kind.rope === "none" ? undefined : () => [table("cos"), table("sin")],
  });
}

/**
 * The first part of a block, all tokens at once: x [N, D] to q [N, H hd], k and v [N, KV hd]. q and k are rotated by cos, sin
 * [N, rotaryDim/2], the rotary tables' rows of each token's position.
 */
export function attentionInput(config: ModelConfig, n: number, adaptation: Adaptation, kind = PLAIN): Fn {
  return define("attention_input", (declare) => {
    const x = declare("x", [n, config.hiddenSize]);
    const { q, k, v } = blockOf(config).attentionInput(trainingOps(declare, config, n, adaptation, kind), x);
    return { q, k, v };
  });
}

const blockOf = ({ block = "pre_norm" }: ModelConfig) => BLOCKS[block];

/** Queries of one sequence attended at once: scores stay in the cache, and what the mask hides is not computed. */
const QUERY_BLOCK = 128;

/**
 * Attention within one sequence: q [T, H, hd] and k [T, KV, hd], both rotated, and v [T, KV, hd] to o [T, H, hd]. The mask
 * [T, T] is an input too: all layers of a kind share it.
 */
export function selfAttention(config: ModelConfig, t: number, { window = 0 }: KindOfLayer = PLAIN): Fn {
  const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim: hd } = config;
  return define("self_attention", (declare) => {
    const byHead = (name: string, count: number) => transpose(declare(name, [t, count, hd]), 1, 0, 2);
    const [q, k, v] = [byHead("q", heads), byHead("k", kv), byHead("v", kv)];
    const queryBlock = isOpen(t) ? 0 : QUERY_BLOCK;
    return { o: attention(q, k, v, declare("mask", [t, t]), { ...scoring(config), window, queryBlock }) };
  });
}

/** What attention scores are made of in this model. */
export const scoring = ({ headDim, attentionScale = headDim ** -0.5, attentionSoftcap = 0 }: ModelConfig) => ({
  scale: attentionScale,
  softcap: attentionSoftcap,
});

/** The backward of `selfAttention` where only rows with 1 in `valid` [T, 1, 1] count: what comes in for the others is dropped. */
export function ofValidRows(backward: Fn): Fn {
  const d = backward.inputs.d_o!;
  const valid = input("valid", { dtype: "f32", shape: [d.shape[0]!, 1, 1] });
  const names = Object.keys(backward.outputs);
  const values = substitute(Object.values(backward.outputs), new Map([[d, mul(d, valid)]]));
  const outputs = Object.fromEntries(names.map((name, i) => [name, values[i]!]));
  return { ...backward, inputs: { ...backward.inputs, valid }, outputs };
}

/**
 * What the linear layers of a block are given, of x [N, D] and o [N, H hd]: one output [N, in] for each value that differs, under the name of
 * the first layer that reads it. `readers`: the layers that read each.
 */
export function linearInputs(config: ModelConfig, n: number) {
  const readers = new Map<Value, LinearName[]>();
  const f = define("linear_inputs", (declare) => {
    const { hiddenSize: d, numAttentionHeads, headDim } = config;
    const linearOf = (name: string, x: Value): Value => {
      readers.set(x, [...(readers.get(x) ?? []), name as LinearName]);
      return linear(declare, config, name as LinearName, x, {});
    };
    const ops = graphOps(config, { declare, linear: linearOf, rotation: undefined });
    const x = declare("x", [n, d]);
    blockOf(config).attentionInput(ops, x);
    blockOf(config).attentionOutput(ops, x, declare("o", [n, numAttentionHeads * headDim]));
    return Object.fromEntries([...readers].map(([value, [first]]) => [first!, value]));
  });
  return { f, readers: new Map([...readers.values()].map((names) => [names[0]!, names])) };
}

/** The rest of a block: o [N, H hd] back into the residual stream x [N, D], then the MLP. */
export function attentionOutput(config: ModelConfig, n: number, adaptation: Adaptation): Fn {
  return define("attention_output", (declare) => {
    const { hiddenSize: d, numAttentionHeads, headDim } = config;
    const x = declare("x", [n, d]);
    const o = declare("o", [n, numAttentionHeads * headDim]);
    return { y: blockOf(config).attentionOutput(trainingOps(declare, config, n, adaptation, PLAIN), x, o) };
  });
}
