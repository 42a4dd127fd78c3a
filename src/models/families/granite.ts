import type { ModelFamily } from "../family.js";

/** Granite 3 and 4, dense: factors on embedding, scores, branches and logits (transformers' `GraniteConfig`). */
export const granite: ModelFamily = {
  modelType: "granite",
  architecture: "GraniteForCausalLM",
  defaults: {},
  read(keys) {
    keys.only("hidden_act", ["silu", "swish"]);
    return {
      attentionBias: keys.flag("attention_bias"),
      mlpBias: keys.flag("mlp_bias"),
      embeddingScale: keys.positive("embedding_multiplier", 1),
      residualMultiplier: keys.positive("residual_multiplier", 1),
      attentionScale: keys.positive("attention_multiplier", 1),
      logitScale: 1 / keys.positive("logits_scaling", 1),
    };
  },
  write: (config) => ({
    hidden_act: "silu",
    attention_bias: config.attentionBias,
    mlp_bias: config.mlpBias,
    embedding_multiplier: config.embeddingScale ?? 1,
    residual_multiplier: config.residualMultiplier ?? 1,
    attention_multiplier: config.attentionScale ?? 1,
    logits_scaling: 1 / (config.logitScale ?? 1),
  }),
};
