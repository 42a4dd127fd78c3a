import type { LayerKind } from "../config.js";
import { layerTypes, type ModelFamily, slidingLayers, windowOf } from "../family.js";
import { QKV } from "../gguf-family.js";

const isSwitch = (value: unknown): value is number => value === 0 || value === 1;

/** Every fourth layer does not, which is all that llama.cpp knows. */
const turnsByDefault = (layer: number, interval = 4): boolean => (layer + 1) % interval !== 0;

/** SmolLM3: every fourth layer has no rotary positions (transformers' `SmolLM3Config`; in `no_rope_layers` 1 means rope). */
export const smollm3: ModelFamily = {
  modelType: "smollm3",
  architecture: "SmolLM3ForCausalLM",
  defaults: {
    num_key_value_heads: 4,
    max_position_embeddings: 32768,
    tie_word_embeddings: true,
    rope_theta: 2e6,
  },
  read(keys, shape) {
    keys.only("hidden_act", ["silu", "swish"]);
    const interval = keys.size("no_rope_layer_interval", 4);
    const rotary = keys.list("no_rope_layers", shape.numHiddenLayers, isSwitch, "zeros and ones");
    const windowed = keys.flag("use_sliding_window") && keys.get("sliding_window") !== null;
    const turns = (layer: number) => (rotary ? rotary[layer] === 1 : turnsByDefault(layer, interval));
    const sliding = slidingLayers(keys, shape, (layer) => windowed && !turns(layer));
    const window = windowed ? keys.size("sliding_window") : undefined;
    return {
      attentionBias: keys.flag("attention_bias"),
      mlpBias: keys.flag("mlp_bias"),
      layers: sliding.map((has, layer): LayerKind => {
        const rope = turns(layer) ? "global" : "none";
        return has && window !== undefined ? { rope, window } : { rope };
      }),
    };
  },
  write(config) {
    const window = windowOf(config);
    return {
      hidden_act: "silu",
      attention_bias: config.attentionBias,
      mlp_bias: config.mlpBias,
      no_rope_layers: config.layers!.map(({ rope }) => Number(rope !== "none")),
      use_sliding_window: window !== null,
      sliding_window: window,
      layer_types: layerTypes(config),
    };
  },
  gguf: {
    architecture: "smollm3",
    permuted: true,
    biases: QKV,
    scalings: ["linear"],
    read: (_, { numHiddenLayers }) => ({
      layers: Array.from({ length: numHiddenLayers }, (_, layer) => ({
        rope: turnsByDefault(layer) ? "global" : "none",
      })),
    }),
    write: () => ({}),
  },
};
