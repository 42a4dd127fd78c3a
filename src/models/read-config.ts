import { UserError } from "../tensor/index.js";
import type { LlamaConfig } from "./config.js";
import { ConfigKeys, type JsonObject } from "./config-keys.js";
import { FAMILIES } from "./families/index.js";
import type { ModelFamily } from "./family.js";
import { readRope, ropeKeys, ropeScalingKeys } from "./rope-keys.js";

/** A configuration, and what config.json says that nothing here uses. */
export interface ReadConfig {
  readonly config: LlamaConfig;
  readonly unread: readonly string[];
}

/**
 * Reads Hugging Face's `config.json` (parsed), old style and new. Missing keys have the defaults of transformers' class. Throws
 * UserError, by name, for other architectures and for features that would compute something else; `where` starts its message.
 */
export function readConfig(outer: JsonObject, where: string): ReadConfig {
  const json = textPart(outer);
  const family = familyOf(json, where);
  const keys = new ConfigKeys({ ...family.defaults, ...withoutNull(json) }, where);
  for (const key of ["architectures", "model_type"]) keys.get(key);
  keys.only("quantization_config", [], "; use the unquantised checkpoint or its GGUF");
  keys.only("is_encoder_decoder", [false]);
  const hiddenSize = keys.size("hidden_size");
  const numAttentionHeads = keys.size("num_attention_heads");
  const headDim = keys.size("head_dim", hiddenSize / numAttentionHeads);
  const numHiddenLayers = keys.size("num_hidden_layers");
  const rope = readRope(keys, headDim, { byLayer: family.ropeByLayer ?? false, old: family.modelType === "phi3" });
  const own = family.read(keys, { hiddenSize, numHiddenLayers, numAttentionHeads, headDim }, rope);
  if (rope.partial !== 1 && own.rotaryDim === undefined)
    throw new UserError(`${where}: partial_rotary_factor = ${rope.partial} is not supported`);
  const config: LlamaConfig = {
    ...(family.modelType === "llama" ? {} : { family: family.modelType }),
    vocabSize: keys.size("vocab_size"),
    hiddenSize,
    intermediateSize: keys.size("intermediate_size"),
    numHiddenLayers,
    numAttentionHeads,
    numKeyValueHeads: keys.size("num_key_value_heads", numAttentionHeads),
    headDim,
    rmsNormEps: keys.positive("rms_norm_eps", 1e-6),
    ropeTheta: rope.theta,
    ...(rope.scaling ? { ropeScaling: rope.scaling } : {}),
    maxPositionEmbeddings: keys.size("max_position_embeddings", 2048),
    tieWordEmbeddings: keys.flag("tie_word_embeddings"),
    attentionBias: false,
    mlpBias: false,
    ...own,
  };
  return { config, unread: keys.unread().filter((key) => key in json) };
}

/** A null counts as missing, but where it says that there is no window. */
const withoutNull = (json: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(json).filter(([key, value]) => value !== null || key === "sliding_window"));

/** The model of texts inside one that also sees: transformers' `text_config`. */
export const textPart = (json: JsonObject): JsonObject =>
  typeof json.text_config === "object" && json.text_config !== null && !FAMILIES.has(String(json.model_type))
    ? { tie_word_embeddings: json.tie_word_embeddings ?? null, ...(json.text_config as JsonObject) }
    : json;

/** `model_type` says what a checkpoint is, as in transformers; `architectures` must not contradict it. */
function familyOf(json: JsonObject, where: string): ModelFamily {
  const { model_type: type, architectures = null } = json;
  if (architectures !== null && !(Array.isArray(architectures) && architectures.every((x) => typeof x === "string")))
    throw new UserError(`${where}: architectures must be a list of names, got ${JSON.stringify(architectures)}`);
  const names: readonly string[] = architectures ?? [];
  const family = FAMILIES.get(String(type));
  if (family && names.every((name) => name.toLowerCase() === family.architecture.toLowerCase())) return family;
  const what = names.length > 0 ? names.join(", ") : JSON.stringify(type ?? "unknown");
  const known = [...FAMILIES.values()].map(({ architecture }) => architecture);
  throw new UserError(
    `${where}: this is ${what} (model_type ${JSON.stringify(type)}), which is not supported; supported are ${known.join(", ")}`,
  );
}

/** Writes a configuration as transformers' `config.json`, with the keys that versions 4 and 5 both read. */
export function writeConfig(config: LlamaConfig, dtype: string, more: JsonObject = {}): JsonObject {
  const family = FAMILIES.get(config.family ?? "llama")!;
  return {
    architectures: [family.architecture],
    attention_dropout: 0,
    head_dim: config.headDim,
    hidden_size: config.hiddenSize,
    initializer_range: 0.02,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositionEmbeddings,
    model_type: family.modelType,
    num_attention_heads: config.numAttentionHeads,
    num_hidden_layers: config.numHiddenLayers,
    num_key_value_heads: config.numKeyValueHeads,
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: ropeScalingKeys(config.ropeScaling),
    rope_theta: ropeKeys(config).rope_theta,
    tie_word_embeddings: config.tieWordEmbeddings,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: config.vocabSize,
    ...family.write(config),
    ...more,
  };
}
