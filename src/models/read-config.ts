import { UserError } from "../tensor/index.js";
import type { ModelConfig } from "./config.js";
import { ConfigKeys, type JsonObject } from "./config-keys.js";
import { FAMILIES, familyOf, saidFamily } from "./families/index.js";
import type { ModelFamily } from "./family.js";
import { readRope, ropeKeys, ropeScalingKeys } from "./rope-keys.js";

/** A configuration, and sentences about what config.json says and nothing here uses, as transformers' own class does not. */
export interface ReadConfig {
  readonly config: ModelConfig;
  readonly notes: readonly string[];
}

/**
 * What changes nothing of what a model computes from tokens to logits: how it was made, stored or trained, and defaults of other
 * tasks and of transformers' `generate` (whose place is generation_config.json).
 */
const NEUTRAL: ReadonlySet<string> = new Set(
  (
    "_attn_implementation_autoset _commit_hash _name_or_path attention_dropout attn_implementation auto_map bad_words_ids " +
    "begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward cross_attention_hidden_size " +
    "decoder_start_token_id diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id " +
    "exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id id2label initializer_range is_decoder " +
    "is_llama_config label2id length_penalty max_length max_window_layers min_length name_or_path no_repeat_ngram_size " +
    "num_beam_groups num_beams num_labels num_return_sequences output_attentions output_hidden_states output_scores pad_token_id " +
    "prefix pretraining_tp problem_type pruned_heads remove_invalid_values repetition_penalty return_dict " +
    "return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder " +
    "tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config transformers_version typical_p unk_token_id " +
    "unsloth_fixed unsloth_version use_bfloat16 use_cache"
  ).split(" "),
);

/** null, false, 0 and what is empty say nothing. */
function saysNothing(value: unknown): boolean {
  return !value || (typeof value === "object" && Object.keys(value).length === 0);
}

/**
 * Reads Hugging Face's `config.json` (parsed), old style and new. Missing keys have the defaults of transformers' class. Throws
 * UserError, by name, for other architectures and for features that would compute something else; `where` starts its message.
 */
export function readConfig(whole: JsonObject, where: string): ReadConfig {
  const json = textPart(whole);
  const family = namedFamily(json, where);
  const keys = new ConfigKeys({ ...family.defaults, ...json }, where);
  for (const key of ["architectures", "model_type"]) keys.get(key);
  keys.only("quantization_config", [], "; use the unquantised checkpoint or its GGUF");
  keys.only("is_encoder_decoder", [false]);
  const hiddenSize = keys.size("hidden_size");
  const numAttentionHeads = keys.size("num_attention_heads");
  const headDim = keys.size("head_dim", hiddenSize / numAttentionHeads);
  const numHiddenLayers = keys.size("num_hidden_layers");
  const rope = readRope(keys, headDim, { byLayer: family.ropeByLayer ?? false, oldNames: family.oldRopeNames ?? {} });
  const own = family.read(keys, { hiddenSize, numHiddenLayers, numAttentionHeads, headDim }, rope);
  if (rope.partial !== 1 && own.rotaryDim === undefined)
    throw new UserError(`${where}: partial_rotary_factor = ${rope.partial} is not supported`, {
      code: "unsupported_model",
    });
  const config: ModelConfig = {
    ...saidFamily(family),
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
  const idle = keys.unread().filter((key) => key in json && !NEUTRAL.has(key) && !saysNothing(json[key]));
  return {
    config,
    notes: [
      ...(idle.length > 0 ? [`${where}: ${idle.join(", ")}: not used by a model of this kind`] : []),
      ...(rope.idle.length > 0 ? [`${where}: rope type "${rope.type}" does not use ${rope.idle.join(", ")}`] : []),
    ],
  };
}

/** What a model of texts and pictures says once for all its parts. */
const SHARED =
  "tie_word_embeddings torch_dtype dtype bos_token_id eos_token_id pad_token_id quantization_config transformers_version".split(
    " ",
  );

/**
 * The text part of a model that also sees (`ModelFamily.whole`), as the config.json of a model of its own; any other
 * configuration as it is. In transformers it is called `text_config`.
 */
export function textPart(json: JsonObject): JsonObject {
  const family = [...FAMILIES.values()].find(({ whole }) => whole && whole.modelType === json.model_type);
  const named = json.architectures ?? [];
  const isWhole = Array.isArray(named) && named.every((name) => name === family?.whole?.architecture);
  if (!family || !isWhole) return json;
  const { _name_or_path: _, architectures: __, ...text } = (json.text_config ?? {}) as JsonObject;
  const shared = SHARED.filter((key) => (json[key] ?? null) !== null).map((key) => [key, json[key]]);
  return {
    ...text,
    ...Object.fromEntries(shared),
    architectures: [family.architecture],
    model_type: text.model_type ?? family.modelType,
  };
}

/** `model_type` says what a checkpoint is, as in transformers; `architectures` must not contradict it. */
function namedFamily(json: JsonObject, where: string): ModelFamily {
  const { model_type: type, architectures = null } = json;
  if (architectures !== null && !(Array.isArray(architectures) && architectures.every((x) => typeof x === "string")))
    throw new UserError(`${where}: architectures must be a list of names, got ${JSON.stringify(architectures)}`);
  const names: readonly string[] = architectures ?? [];
  const family = FAMILIES.get(String(type));
  if (family && names.every((name) => name.toLowerCase() === family.architecture.toLowerCase())) return family;
  const what = names.length > 0 ? names.join(", ") : JSON.stringify(type ?? "unknown");
  const known = [...FAMILIES.values()].flatMap(({ architecture, whole }) => [
    architecture,
    ...(whole ? [`the text part of ${whole.architecture}`] : []),
  ]);
  throw new UserError(
    `${where}: this is ${what} (model_type ${JSON.stringify(type)}), which is not supported (supported: ${known.join(", ")})`,
    { code: "unsupported_model" },
  );
}

/** Writes a configuration as transformers' `config.json`, with the keys that versions 4 and 5 both read. */
export function writeConfig(config: ModelConfig, dtype: string, more: JsonObject = {}): JsonObject {
  const family = familyOf(config);
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
