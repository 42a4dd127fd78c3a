import { type ModelFamily, windowedLayers, windowOf } from "../family.js";

/** Phi-3, 3.5, 4 and 4-mini: q, k, v are one layer, gate and up another; part of a head turns (transformers' `Phi3Config`). */
export const phi3: ModelFamily = {
  modelType: "phi3",
  oldRopeNames: { su: "longrope", yarn: "longrope" },
  architecture: "Phi3ForCausalLM",
  defaults: { max_position_embeddings: 4096, rms_norm_eps: 1e-5 },
  read(keys, shape, { partial }) {
    keys.only("hidden_act", ["silu", "swish"]);
    for (const key of ["resid_pdrop", "embd_pdrop"]) keys.only(key, [0]);
    const rotaryDim = Math.floor(shape.headDim * partial);
    return {
      fused: true,
      ...(rotaryDim === shape.headDim ? {} : { rotaryDim }),
      ...windowedLayers(keys, shape),
    };
  },
  write: (config) => ({
    hidden_act: "silu",
    sliding_window: windowOf(config),
    partial_rotary_factor: (config.rotaryDim ?? config.headDim) / config.headDim,
    ...(config.ropeScaling?.type === "longrope"
      ? { original_max_position_embeddings: config.ropeScaling.originalMaxPositionEmbeddings }
      : {}),
  }),
  gguf: {
    architecture: "phi3",
    biases: [],
    scalings: ["linear", "longrope"],
    evenHeads: true,
    partialRotary: true,
    read(keys, { numHiddenLayers }) {
      const window = keys.number("attention.sliding_window", 0);
      const layers = Array.from({ length: numHiddenLayers }, () => ({ rope: "global", window }) as const);
      return { fused: true, ...(window > 0 ? { layers } : {}) };
    },
    write: (config) => ({ "attention.sliding_window": ["u32", windowOf(config) ?? 0] }), // 0: none
    differs(config) {
      const { maxPositionEmbeddings: most, ropeScaling: scaling } = config;
      const window = windowOf(config) ?? most;
      const original = scaling?.type === "longrope" ? scaling.originalMaxPositionEmbeddings : most;
      return [
        ...(window < most
          ? [`llama.cpp leaves this model's window of ${window} tokens out: longer texts may get other answers there`]
          : []),
        ...(original < most
          ? [
              `llama.cpp turns by the long rope factors where its context is above ${original} tokens, whatever the text is: ` +
                `--ctx-size ${original} gives short texts the answers of the model`,
            ]
          : []),
      ];
    },
  },
};
