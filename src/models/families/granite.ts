import { SEPARATE } from "../config.js";
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
  gguf: {
    architecture: "granite",
    permuted: true,
    biases: SEPARATE,
    scalings: ["linear", "llama3"],
    read(keys, { headDim }) {
      keys.only("rope.scaling.finetuned", [true], "a model without rotary positions");
      return {
        embeddingScale: keys.number("embedding_scale", 0) || 1,
        residualMultiplier: keys.number("residual_scale", 0) || 1,
        attentionScale: keys.number("attention.scale", 0) || headDim ** -0.5,
        logitScale: 1 / keys.number("logit_scale"),
      };
    },
    write: (config) => ({
      embedding_scale: ["f32", config.embeddingScale ?? 1],
      residual_scale: ["f32", config.residualMultiplier ?? 1],
      "attention.scale": ["f32", config.attentionScale ?? config.headDim ** -0.5],
      logit_scale: ["f32", 1 / (config.logitScale ?? 1)],
    }),
  },
};
