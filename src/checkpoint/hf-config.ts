import type { LlamaConfig, RopeScaling } from "../models/config.js";
import { UserError } from "../tensor/index.js";
import { type JsonObject, shown } from "./json.js";

/**
 * Reads Hugging Face's `config.json` (parsed) of a Llama: Llama 2, 3, 3.1, 3.2, TinyLlama, SmolLM2, with `rope_theta` +
 * `rope_scaling` or the newer `rope_parameters`. Missing keys have transformers' LlamaConfig defaults. Mistral without a
 * sliding window computes the same and is accepted. Throws UserError, by name, for other architectures and for features
 * that would compute something else; `where` starts its message.
 */
export function llamaConfigFromHf(json: JsonObject, where: string): LlamaConfig {
  checkArchitecture(json, where);
  checkFeatures(json, where);
  const size = (key: string, otherwise?: number): number => wholeNumber(json, key, where, otherwise);
  const isMistral = json.model_type === "mistral";
  const hiddenSize = size("hidden_size");
  const maxPositionEmbeddings = size("max_position_embeddings", isMistral ? 131072 : 2048);
  const numAttentionHeads = size("num_attention_heads");
  const config: LlamaConfig = {
    vocabSize: size("vocab_size"),
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    numHiddenLayers: size("num_hidden_layers"),
    numAttentionHeads,
    numKeyValueHeads: size(
      "num_key_value_heads",
      isMistral && !("num_key_value_heads" in json) ? 8 : numAttentionHeads,
    ),
    headDim: size("head_dim", hiddenSize / numAttentionHeads),
    rmsNormEps: positive(json, "rms_norm_eps", where, 1e-6),
    ...rope(json, where, maxPositionEmbeddings),
    maxPositionEmbeddings,
    tieWordEmbeddings: flag(json, "tie_word_embeddings", where),
    attentionBias: !isMistral && flag(json, "attention_bias", where),
    mlpBias: !isMistral && flag(json, "mlp_bias", where),
  };
  checkLlamaConfig(config, where);
  return config;
}

/** Refuses a configuration whose numbers do not fit together; `where` starts the message. */
export function checkLlamaConfig(config: LlamaConfig, where: string): void {
  for (const [key, value] of Object.entries(config)) {
    if (typeof value !== "number") continue;
    const sound = key === "rmsNormEps" || key === "ropeTheta" ? value > 0 : Number.isInteger(value) && value > 0;
    if (!sound || value >= 2 ** 31) throw new UserError(`${where}: ${key} cannot be ${value}`);
  }
  const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim } = config;
  if (heads % kv !== 0)
    throw new UserError(`${where}: ${heads} attention heads cannot share ${kv} key-value heads evenly`);
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw new UserError(
      `${where}: head_dim must be an even whole number (rotary positions turn pairs), got ${headDim}`,
    );
  }
  if (config.numHiddenLayers > 10_000)
    throw new UserError(`${where}: ${config.numHiddenLayers} layers are not plausible`);
}

/** Writes a configuration as transformers' `config.json`, with the keys that versions 4 and 5 both read. */
export function llamaConfigToHf(config: LlamaConfig, dtype: string, more: JsonObject = {}): JsonObject {
  return {
    architectures: ["LlamaForCausalLM"],
    attention_bias: config.attentionBias,
    attention_dropout: 0,
    head_dim: config.headDim,
    hidden_act: "silu",
    hidden_size: config.hiddenSize,
    initializer_range: 0.02,
    intermediate_size: config.intermediateSize,
    max_position_embeddings: config.maxPositionEmbeddings,
    mlp_bias: config.mlpBias,
    model_type: "llama",
    num_attention_heads: config.numAttentionHeads,
    num_hidden_layers: config.numHiddenLayers,
    num_key_value_heads: config.numKeyValueHeads,
    rms_norm_eps: config.rmsNormEps,
    rope_scaling: ropeScalingToHf(config.ropeScaling),
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: config.vocabSize,
    ...more,
  };
}

function ropeScalingToHf(scaling: RopeScaling | undefined): JsonObject | null {
  if (!scaling) return null;
  if (scaling.type === "linear") return { factor: scaling.factor, rope_type: "linear" };
  return {
    factor: scaling.factor,
    high_freq_factor: scaling.highFreqFactor,
    low_freq_factor: scaling.lowFreqFactor,
    original_max_position_embeddings: scaling.originalMaxPositionEmbeddings,
    rope_type: "llama3",
  };
}

/** `model_type` says what a checkpoint is, as in transformers; `architectures` may spell it as the first converters did. */
function checkArchitecture(json: JsonObject, where: string): void {
  const { model_type: type, architectures = null } = json;
  if (architectures !== null && !(Array.isArray(architectures) && architectures.every((x) => typeof x === "string")))
    throw new UserError(`${where}: architectures must be a list of names, got ${JSON.stringify(architectures)}`);
  const names: readonly string[] = architectures ?? [];
  const are = (name: string) => names.every((other) => other.toLowerCase() === name);
  const isLlama = type === "llama" && are("llamaforcausallm");
  const isMistral = type === "mistral" && are("mistralforcausallm");
  if (isLlama || (isMistral && json.sliding_window === null)) return;
  const what = names.length > 0 ? names.join(", ") : JSON.stringify(type ?? "unknown");
  const why = isMistral ? " with a sliding window" : "";
  throw new UserError(
    `${where}: this is ${what}${why} (model_type ${JSON.stringify(type)}); only LlamaForCausalLM (model_type "llama") is supported`,
  );
}

/** Keys that change what a Llama computes, with the values that change nothing. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  hidden_act: ["silu", "swish"],
  quantization_config: [null],
  sliding_window: [null],
  use_sliding_window: [false, null],
  partial_rotary_factor: [1, null],
  is_encoder_decoder: [false, null],
};

function checkFeatures(json: JsonObject, where: string): void {
  for (const [key, neutral] of Object.entries(NEUTRAL)) {
    const value = json[key];
    if (value === undefined || neutral.includes(value)) continue;
    const hint = key === "quantization_config" ? "; use the unquantised checkpoint or its GGUF" : "";
    throw new UserError(
      `${where}: ${key} = ${shown(value)} is not supported (supported: ${neutral.map((one) => JSON.stringify(one)).join(", ")})${hint}`,
    );
  }
}

/**
 * As transformers has it: `rope_scaling` counts before `rope_parameters`, a theta inside either before the one outside, and
 * without a type nothing is stretched.
 */
function rope(json: JsonObject, where: string, most: number): { ropeTheta: number; ropeScaling?: RopeScaling } {
  const scaling = ropeParameters(json, where);
  if ((scaling.partial_rotary_factor ?? 1) !== 1) {
    throw new UserError(`${where}: partial_rotary_factor = ${scaling.partial_rotary_factor} is not supported`);
  }
  const ropeTheta = "rope_theta" in scaling ? scaling.rope_theta : (json.rope_theta ?? 10000);
  const ropeScaling = ropeScalingFromHf(scaling, json, where, most);
  return {
    ropeTheta: positive({ rope_theta: ropeTheta }, "rope_theta", where),
    ...(ropeScaling ? { ropeScaling } : {}),
  };
}

/** The dictionary that says how rotary positions are stretched; empty where there is none. */
export function ropeParameters(json: JsonObject, where: string): JsonObject {
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const value = json[key];
    if (value === undefined || value === null || value === false) continue;
    if (typeof value !== "object" || Array.isArray(value))
      throw new UserError(`${where}: ${key} must be an object, got ${JSON.stringify(value)}`);
    if (Object.keys(value).length > 0) return value as JsonObject;
  }
  return {};
}

const TRAINED = "original_max_position_embeddings";

/** The keys of each kind of rope that is supported, beside its kind, `rope_theta` and `partial_rotary_factor`. */
export const ROPE_KEYS: Readonly<Record<string, readonly string[]>> = {
  default: [],
  linear: ["factor"],
  llama3: ["factor", "low_freq_factor", "high_freq_factor", TRAINED],
};

/** Which kind of rope a dictionary names. */
export const ropeType = (scaling: JsonObject): unknown =>
  "rope_type" in scaling ? scaling.rope_type : "type" in scaling ? scaling.type : "default";

function ropeScalingFromHf(
  scaling: JsonObject,
  json: JsonObject,
  where: string,
  most: number,
): RopeScaling | undefined {
  const type = ropeType(scaling);
  const number = (key: string) => positive(scaling, key, where);
  const nested = Object.keys(scaling).find((key) => scaling[key] !== null && typeof scaling[key] === "object");
  if (type === "default" && nested)
    throw new UserError(`${where}: rope parameters per kind of layer (${nested}) are not supported`);
  switch (type) {
    case "default":
      return undefined;
    case "linear":
      return { type: "linear", factor: number("factor") };
    case "llama3": {
      const trained = json[TRAINED] ?? scaling[TRAINED] ?? most;
      return {
        type: "llama3",
        factor: number("factor"),
        lowFreqFactor: number("low_freq_factor"),
        highFreqFactor: number("high_freq_factor"),
        originalMaxPositionEmbeddings: wholeNumber({ [TRAINED]: trained }, TRAINED, where),
      };
    }
    default:
      throw new UserError(
        `${where}: rope type ${JSON.stringify(type)} is not supported (supported: ${Object.keys(ROPE_KEYS).join(", ")})`,
      );
  }
}

function wholeNumber(json: JsonObject, key: string, where: string, otherwise?: number): number {
  const value = json[key] ?? otherwise;
  if (typeof value === "number" && Number.isInteger(value) && value > 0 && value < 2 ** 31) return value;
  throw new UserError(`${where}: ${key} must be a whole number above 0, got ${shown(value)}`);
}

function positive(json: JsonObject, key: string, where: string, otherwise?: number): number {
  const value = json[key] ?? otherwise;
  if (typeof value === "number" && value > 0 && Number.isFinite(value)) return value;
  throw new UserError(`${where}: ${key} must be a number above 0, got ${shown(value)}`);
}

function flag(json: JsonObject, key: string, where: string): boolean {
  const value = json[key] ?? false;
  if (typeof value === "boolean") return value;
  throw new UserError(`${where}: ${key} must be true or false, got ${JSON.stringify(value)}`);
}
