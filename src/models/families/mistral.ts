import { type ModelFamily, windowedLayers, windowOf } from "../family.js";
import { LLAMA_GGUF } from "../gguf-family.js";

/** Mistral: a Llama whose layers may all have a window (transformers' `MistralConfig`). */
export const mistral: ModelFamily = {
  modelType: "mistral",
  architecture: "MistralForCausalLM",
  defaults: { num_key_value_heads: 8, max_position_embeddings: 131072 },
  read(keys, shape) {
    keys.only("hidden_act", ["silu", "swish"]);
    return windowedLayers(keys, shape, 4096);
  },
  write: (config) => ({ sliding_window: windowOf(config), hidden_act: "silu" }),
  gguf: LLAMA_GGUF, // without a window: llama.cpp has none for this architecture
};
