import { type ModelFamily, slidingLayers } from "../family.js";
import { capField, gemmaBlock, gemmaKeys, gemmaParts, ggufScale } from "../gemma-parts.js";
import { QKV, slidingFields, someWindowed } from "../gguf-family.js";
import { ropeKeys } from "../rope-keys.js";

/**
 * Gemma 3, its text part: norms of q and k, five layers with a window and rotary frequencies of their own to one without
 * (transformers' `Gemma3TextConfig`).
 */
export const gemma3: ModelFamily = {
  modelType: "gemma3_text",
  architecture: "Gemma3ForCausalLM",
  whole: { modelType: "gemma3", architecture: "Gemma3ForConditionalGeneration" },
  ropeByLayer: true,
  // All of them: the published `text_config`s leave out what is as it is in the class.
  defaults: {
    vocab_size: 262208,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    head_dim: 256,
    num_key_value_heads: 4,
    max_position_embeddings: 131072,
    tie_word_embeddings: true,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    rope_theta: 1e6,
    rope_local_base_freq: 1e4,
  },
  read(keys, shape) {
    const pattern = keys.size("sliding_window_pattern", keys.size("_sliding_window_pattern", 6));
    const sliding = slidingLayers(keys, shape, (layer) => (layer + 1) % pattern !== 0);
    const window = keys.size("sliding_window");
    return {
      ...gemmaParts(keys, shape),
      qkNorm: "head",
      localRope: { theta: localTheta(keys) },
      layers: someWindowed(sliding, window, "local"),
    };
  },
  write: (config) => ({
    ...gemmaKeys(config),
    rope_local_base_freq: config.localRope!.theta,
    rope_parameters: {
      full_attention: ropeKeys(config),
      sliding_attention: { rope_type: "default", rope_theta: config.localRope!.theta },
    },
  }),
  gguf: {
    architecture: "gemma3",
    biases: QKV,
    scalings: ["linear"],
    read(keys, shape) {
      const window = keys.number("attention.sliding_window", 0);
      const layers = shape.numHiddenLayers;
      const sliding = window > 0 ? keys.sliding(layers, 6) : Array.from({ length: layers }, () => false);
      const finalSoftcap = keys.number("final_logit_softcapping", 0);
      return {
        ...gemmaBlock(shape),
        qkNorm: "head",
        attentionScale: ggufScale(shape, 62),
        ...(finalSoftcap > 0 ? { finalSoftcap } : {}),
        localRope: { theta: keys.number("rope.freq_base_swa", 10000) },
        layers: someWindowed(sliding, window, "local"),
      };
    },
    write: (config) => ({
      ...slidingFields(config, 6),
      ...capField("final_logit_softcapping", config.finalSoftcap),
      "rope.freq_base_swa": ["f32", config.localRope!.theta],
    }),
  },
};

/** The base of the second frequencies: in `rope_parameters` by kind of layer, or a key of its own. */
function localTheta(keys: Parameters<ModelFamily["read"]>[0]): number {
  const fallback = keys.positive("rope_local_base_freq");
  const nested = (keys.get("rope_parameters") as Record<string, Record<string, unknown> | null> | null)
    ?.sliding_attention;
  const theta = nested?.rope_theta ?? fallback;
  return typeof theta === "number" && theta > 0 ? theta : fallback;
}
