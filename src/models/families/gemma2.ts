import { type ModelFamily, slidingLayers } from "../family.js";
import { capField, gemmaBlock, gemmaKeys, gemmaParts, ggufScale } from "../gemma-parts.js";
import { QKV, slidingFields, someWindowed } from "../gguf-family.js";

/** Gemma 2: norms around each branch, GeGLU, soft caps, a window on every second layer (transformers' `Gemma2Config`). */
export const gemma2: ModelFamily = {
  modelType: "gemma2",
  architecture: "Gemma2ForCausalLM",
  defaults: {
    head_dim: 256,
    num_key_value_heads: 4,
    max_position_embeddings: 8192,
    tie_word_embeddings: true,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
  },
  read(keys, shape) {
    const sliding = slidingLayers(keys, shape, (layer) => layer % 2 === 0);
    const window = keys.size("sliding_window");
    return { ...gemmaParts(keys, shape), layers: someWindowed(sliding, window, "global") };
  },
  write: gemmaKeys,
  gguf: {
    architecture: "gemma2",
    biases: QKV,
    scalings: ["linear"],
    head: "tied",
    read(keys, shape) {
      keys.only("rope.freq_base_swa", [keys.get("rope.freq_base") ?? 10000]);
      const window = keys.number("attention.sliding_window", 4096);
      return {
        ...gemmaBlock(shape),
        attentionScale: ggufScale(shape, 46),
        attentionSoftcap: keys.number("attn_logit_softcapping", 50),
        finalSoftcap: keys.number("final_logit_softcapping", 30),
        layers: someWindowed(keys.sliding(shape.numHiddenLayers, 2), window, "global"),
      };
    },
    write: (config) => ({
      ...slidingFields(config, 2),
      ...capField("attn_logit_softcapping", config.attentionSoftcap),
      ...capField("final_logit_softcapping", config.finalSoftcap),
    }),
  },
};
