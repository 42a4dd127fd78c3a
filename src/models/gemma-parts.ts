import type { ModelConfig } from "./config.js";
import type { ConfigKeys } from "./config-keys.js";
import { type CommonShape, layerTypes, windowOf } from "./family.js";
import type { GgufFields } from "./gguf-family.js";

/** The factor on scores, of which GGUF has no key: only the largest model, known by its depth, has another than others. */
export const ggufScale = (shape: CommonShape, largest: number): number =>
  (shape.numHiddenLayers === largest ? Math.floor(shape.hiddenSize / shape.numAttentionHeads) : shape.headDim) ** -0.5;

export const capField = (key: string, cap: number | undefined): GgufFields =>
  cap === undefined ? {} : { [key]: ["f32", cap] };

/** What no Gemma's configuration says. */
export const gemmaBlock = ({ hiddenSize }: CommonShape) =>
  ({
    block: "sandwich",
    unitOffsetNorm: true,
    activation: "gelu_tanh",
    embeddingScale: Math.sqrt(hiddenSize),
  }) as const;

/** What all Gemmas have. */
export function gemmaParts(keys: ConfigKeys, shape: CommonShape): Partial<ModelConfig> {
  for (const key of ["hidden_activation", "hidden_act"]) keys.only(key, ["gelu_pytorch_tanh", "gelu"]);
  keys.only("use_bidirectional_attention", [false]);
  const cap = (key: string) => (keys.get(key) === null ? undefined : keys.positive(key));
  const [attentionSoftcap, finalSoftcap] = [cap("attn_logit_softcapping"), cap("final_logit_softcapping")];
  return {
    ...gemmaBlock(shape),
    attentionBias: keys.flag("attention_bias"),
    attentionScale: keys.positive("query_pre_attn_scalar") ** -0.5,
    ...(attentionSoftcap === undefined ? {} : { attentionSoftcap }),
    ...(finalSoftcap === undefined ? {} : { finalSoftcap }),
  };
}

/** The keys that say it. */
export function gemmaKeys(config: ModelConfig) {
  return {
    hidden_activation: "gelu_pytorch_tanh",
    attention_bias: config.attentionBias,
    query_pre_attn_scalar: Math.round(config.attentionScale! ** -2),
    attn_logit_softcapping: config.attentionSoftcap ?? null,
    final_logit_softcapping: config.finalSoftcap ?? null,
    sliding_window: windowOf(config),
    layer_types: layerTypes(config),
  };
}
