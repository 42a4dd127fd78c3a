import type { ModelFamily } from "../family.js";
import { LLAMA_GGUF } from "../gguf-family.js";

/** Llama 2, 3, 3.1, 3.2, TinyLlama, SmolLM2 (transformers' `ModelConfig`). */
export const llama: ModelFamily = {
  modelType: "llama",
  architecture: "LlamaForCausalLM",
  defaults: {},
  read(keys) {
    keys.only("hidden_act", ["silu", "swish"]);
    keys.only("sliding_window", []);
    keys.only("use_sliding_window", [false]);
    return { attentionBias: keys.flag("attention_bias"), mlpBias: keys.flag("mlp_bias") };
  },
  write: ({ attentionBias, mlpBias }) => ({ attention_bias: attentionBias, mlp_bias: mlpBias, hidden_act: "silu" }),
  gguf: LLAMA_GGUF,
};
