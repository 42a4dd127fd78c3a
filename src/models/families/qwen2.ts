import type { ModelFamily } from "../family.js";
import { QKV } from "../gguf-family.js";
import { qwenKeys, qwenLayers } from "../qwen-parts.js";

/** Qwen2 and 2.5: biases on q, k and v; upper layers may have a window (transformers' `Qwen2Config`). */
export const qwen2: ModelFamily = {
  modelType: "qwen2",
  architecture: "Qwen2ForCausalLM",
  defaults: { max_position_embeddings: 32768, num_key_value_heads: 32 },
  read(keys, shape) {
    keys.only("hidden_act", ["silu", "swish"]);
    return { attentionBias: true, outputBias: false, ...qwenLayers(keys, shape) };
  },
  write: qwenKeys,
  gguf: {
    architecture: "qwen2",
    biases: QKV,
    scalings: ["linear"],
    evenHeads: true,
    read: () => ({}),
    write: () => ({}),
  },
};
