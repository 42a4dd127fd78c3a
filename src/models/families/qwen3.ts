import type { ModelFamily } from "../family.js";
import { QKV } from "../gguf-family.js";
import { qwenKeys, qwenLayers } from "../qwen-parts.js";

/** Qwen3, dense: each head of q and k is normed before it is rotated (transformers' `Qwen3Config`). */
export const qwen3: ModelFamily = {
  modelType: "qwen3",
  architecture: "Qwen3ForCausalLM",
  defaults: { max_position_embeddings: 32768, num_key_value_heads: 32, head_dim: 128 },
  read(keys, shape) {
    keys.only("hidden_act", ["silu", "swish"]);
    return { qkNorm: "head", attentionBias: keys.flag("attention_bias"), ...qwenLayers(keys, shape) };
  },
  write: (config) => ({ ...qwenKeys(config), attention_bias: config.attentionBias }),
  gguf: {
    architecture: "qwen3",
    biases: QKV,
    scalings: ["linear"],
    read: () => ({ qkNorm: "head" }),
    write: () => ({}),
  },
};
