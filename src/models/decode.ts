import {
  add,
  concat,
  type Declare,
  define,
  type Fn,
  gather,
  matmul,
  mul,
  reshape,
  rmsNorm,
  rope,
  silu,
  slice,
  softmax,
  transpose,
  type Value,
} from "../graph/index.js";
import type { LlamaConfig } from "./config.js";
import { linear } from "./linear.js";
import { splitHeads } from "./llama.js";
import { type BlockLora, blockLora, type LoraConfig } from "./lora-config.js";
import { logitsOf } from "./loss.js";

export interface DecodeShape {
  /** New tokens in one run. */
  readonly tokens: number;
  /** Positions that the cache holds. */
  readonly capacity: number;
}

/** The part of a block's inputs in the joined graph: `layers.3.q_proj.weight`. */
export const layerPrefix = (layer: number): string => `layers.${layer}.`;

/**
 * The whole model as one graph over a KV cache: T new tokens after what the cache holds, to the logits of one of them.
 *
 * Inputs: ids [T]; row [1], whose logits are wanted; cos, sin [T, hd/2] of the new positions; past_mask [T, C], which hides
 * unused cache rows; mask [T, T]; every weight; `layers.N.k_cache` and `v_cache` [KV, C, hd]. Outputs: logits [1, V]
 * and `layers.N.k`, `layers.N.v` [KV, T, hd], to be written into the cache. Cached keys are already rotated.
 */
export function decode(config: LlamaConfig, { tokens: t, capacity: c }: DecodeShape, lora?: LoraConfig): Fn {
  return define("decode", (declare) => {
    const { hiddenSize: d, vocabSize } = config;
    const table = declare("embed_tokens.weight", [vocabSize, d]);
    let x = gather(table, declare("ids", [t], "i64"));
    const outputs: Record<string, Value> = {};
    for (let i = 0; i < config.numHiddenLayers; i++) {
      const scoped: Declare = (name, shape, dtype) => declare(layerPrefix(i) + name, shape, dtype);
      const block = decodeBlock(declare, scoped, config, x, c, lora && blockLora(lora, i));
      x = block.y;
      outputs[`${layerPrefix(i)}k`] = block.k;
      outputs[`${layerPrefix(i)}v`] = block.v;
    }
    return { logits: logitsOf(declare, config, gather(x, declare("row", [1], "i64"))), ...outputs };
  });
}

function decodeBlock(
  declare: Declare,
  scoped: Declare,
  config: LlamaConfig,
  x: Value,
  capacity: number,
  lora?: BlockLora,
) {
  const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim: hd, hiddenSize: d, rmsNormEps } = config;
  const t = x.shape[0]!;
  const [cos, sin] = [declare("cos", [t, hd / 2]), declare("sin", [t, hd / 2])];
  const project = (name: Parameters<typeof linear>[2], input: Value) => linear(scoped, config, name, input, { lora });
  const h = rmsNorm(x, scoped("input_layernorm.weight", [d]), rmsNormEps);
  const q = rope(splitHeads(project("q_proj", h), heads), cos, sin);
  const k = rope(splitHeads(project("k_proj", h), kv), cos, sin);
  const v = splitHeads(project("v_proj", h), kv);
  const past = { k: scoped("k_cache", [kv, capacity, hd]), v: scoped("v_cache", [kv, capacity, hd]) };
  const masks = { past: declare("past_mask", [t, capacity]), now: declare("mask", [t, t]) };
  const o = cachedAttention(q, { k, v }, past, masks, hd ** -0.5);
  const middle = add(x, project("o_proj", o));
  const h2 = rmsNorm(middle, scoped("post_attention_layernorm.weight", [d]), rmsNormEps);
  const y = add(middle, project("down_proj", mul(silu(project("gate_proj", h2)), project("up_proj", h2))));
  return { y, k, v };
}

type KeysValues = { readonly k: Value; readonly v: Value };

/** One softmax over cached and new positions: q [H, T, hd], now [KV, T, hd], past [KV, C, hd] -> [T, H hd]. */
function cachedAttention(
  q: Value,
  now: KeysValues,
  past: KeysValues,
  masks: { past: Value; now: Value },
  alpha: number,
): Value {
  const [heads, t, hd] = q.shape as [number, number, number];
  const [kv, c] = past.k.shape as [number, number];
  const folded = (heads / kv) * t;
  const queries = reshape(q, [kv, folded, hd]);
  const scores = (keys: Value, mask: Value, width: number) =>
    add(reshape(matmul(queries, keys, { transB: true, alpha }), [heads, t, width]), mask);
  const weights = softmax(concat([scores(past.k, masks.past, c), scores(now.k, masks.now, t)], 2));
  const part = (start: number, end: number) => reshape(slice(weights, 2, start, end), [kv, folded, end - start]);
  const o = add(matmul(part(0, c), past.v), matmul(part(c, c + t), now.v));
  return reshape(transpose(reshape(o, [heads, t, hd]), 1, 0, 2), [t, heads * hd]);
}
