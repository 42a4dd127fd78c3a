import { ROPE_KEYS, ropeParameters, ropeType } from "./hf-config.js";
import type { JsonObject } from "./json.js";

/** What `llamaConfigFromHf` and the opening of a folder read, or refuse unless it changes nothing. */
const READ =
  "architectures attention_bias bos_token_id eos_token_id head_dim hidden_act hidden_size intermediate_size " +
  "is_encoder_decoder max_position_embeddings mlp_bias model_type num_attention_heads num_hidden_layers num_key_value_heads " +
  "original_max_position_embeddings partial_rotary_factor quantization_config rms_norm_eps rope_parameters rope_scaling " +
  "rope_theta sliding_window tie_word_embeddings use_sliding_window vocab_size";

/**
 * What changes nothing of what a Llama computes from tokens to logits: how it was made, stored or trained, and defaults of other
 * tasks and of transformers' `generate` (whose place is generation_config.json).
 */
const NEUTRAL =
  "_attn_implementation_autoset _commit_hash _name_or_path attention_dropout attn_implementation auto_map bad_words_ids " +
  "begin_suppress_tokens chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample " +
  "dtype early_stopping encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id " +
  "forced_eos_token_id id2label initializer_range is_decoder is_llama_config label2id length_penalty max_length max_window_layers " +
  "min_length name_or_path no_repeat_ngram_size num_beam_groups num_beams num_labels num_return_sequences output_attentions " +
  "output_hidden_states output_scores pad_token_id prefix pretraining_tp problem_type pruned_heads remove_invalid_values " +
  "repetition_penalty return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params temperature " +
  "tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config " +
  "transformers_version typical_p unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache";

const KNOWN: ReadonlySet<string> = new Set(`${READ} ${NEUTRAL}`.split(" "));
const ROPE_ALWAYS = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];

/** null, false, 0 and what is empty say nothing. */
function saysNothing(value: unknown): boolean {
  return !value || (typeof value === "object" && Object.keys(value).length === 0);
}

/** Sentences about what a `config.json` says and nothing here uses, as transformers' own Llama does not; none if all is used. */
export function hfNotes(json: JsonObject, where: string): string[] {
  const unknown = Object.keys(json).filter((key) => !KNOWN.has(key) && !saysNothing(json[key]));
  if (json.model_type === "mistral")
    unknown.push(...["attention_bias", "mlp_bias"].filter((key) => json[key] === true));
  const rope = ropeParameters(json, where);
  const used = [...ROPE_ALWAYS, ...(ROPE_KEYS[String(ropeType(rope))] ?? [])];
  const idle = Object.keys(rope).filter((key) => !used.includes(key) && !saysNothing(rope[key]));
  return [
    ...(unknown.length > 0 ? [`${where}: ${unknown.join(", ")}: a Llama does not use this`] : []),
    ...(idle.length > 0 ? [`${where}: rope type "${ropeType(rope)}" does not use ${idle.join(", ")}`] : []),
  ];
}

/** Sentences about what transformers and PEFT would do in training with this `config.json`, and lowrank does not. */
export function trainingNotes(json: JsonObject | undefined, where: string): string[] {
  const dropout = json?.attention_dropout ?? 0;
  if (dropout === 0) return [];
  return [
    `${where}: attention_dropout ${JSON.stringify(dropout)} is not applied in training (transformers would drop that share of attention weights); lora.dropout is`,
  ];
}
