import type { ModelFamily } from "../family.js";
import { QKV } from "../gguf-family.js";

/** OLMo 2: norms behind the branches, and over the whole of q and of k (transformers' `Olmo2Config`). */
export const olmo2: ModelFamily = {
  modelType: "olmo2",
  architecture: "Olmo2ForCausalLM",
  defaults: { rms_norm_eps: 1e-5 },
  read(keys) {
    keys.only("hidden_act", ["silu", "swish"]);
    return { block: "post_norm", qkNorm: "width", attentionBias: keys.flag("attention_bias") };
  },
  write: ({ attentionBias }) => ({ attention_bias: attentionBias, hidden_act: "silu" }),
  gguf: {
    architecture: "olmo2",
    biases: QKV,
    scalings: ["linear"],
    head: "own",
    evenHeads: true,
    read: () => ({ block: "post_norm", qkNorm: "width" }),
    write: () => ({}),
  },
};
