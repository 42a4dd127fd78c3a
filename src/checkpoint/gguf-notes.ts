import type { GgufValue } from "./gguf.js";
import { hasPadding } from "./gguf-tokenizer.js";

/** Keys of the model that are read, refused unless they change nothing, or only say how it was made. */
const MODEL =
  "attention.causal attention.clamp_kqv attention.head_count attention.head_count_kv attention.key_length attention.scale " +
  "attention.layer_norm_rms_epsilon attention.max_alibi_bias attention.sliding_window attention.value_length " +
  "attn_logit_softcapping block_count context_length embedding_length embedding_scale expert_count expert_used_count " +
  "feed_forward_length final_logit_softcapping logit_scale pooling_type residual_scale rope.dimension_count rope.freq_base " +
  "rope.scale_linear rope.scaling.attn_factor rope.scaling.factor rope.scaling.finetuned rope.scaling.original_context_length " +
  "rope.scaling.type tensor_data_layout use_parallel_residual vocab_size";

/** The same of the tokenizer; ids of tokens that no text is split by, and tables of other kinds of vocabulary, change nothing. */
const TOKENIZER =
  "add_bos_token add_eos_token add_space_prefix bos_token_id cls_token_id eom_token_id eos_token_id eot_token_id fim_mid_token_id " +
  "fim_pad_token_id fim_pre_token_id fim_rep_token_id fim_sep_token_id fim_suf_token_id mask_token_id merges middle_token_id model " +
  "padding_token_id pre prefix_token_id scores separator_token_id seperator_token_id suffix_token_id token_type token_type_count " +
  "tokens unknown_token_id";

const KNOWN: ReadonlySet<string> = new Set([
  ...MODEL.split(" ").map((key) => `llama.${key}`),
  ...TOKENIZER.split(" ").map((key) => `tokenizer.ggml.${key}`),
  "tokenizer.chat_template",
  "tokenizer.chat_templates", // the names of those that have names
  "tokenizer.huggingface.json",
]);

/** What a file says of itself, and how it was made. */
const ABOUT = /^(general|split|quantize|imatrix)\./;
const PADDING = "tokenizer.ggml.padding_token_id";
const NAMED_TEMPLATE = /^tokenizer\.chat_template\.\w+$/;

/** Sentences about what a GGUF's metadata says and nothing here uses; none if all is used. */
export function ggufNotes(metadata: ReadonlyMap<string, GgufValue>, where: string): string[] {
  const saysNothing = (value: GgufValue) => !value || (typeof value === "object" && value.length === 0);
  const isKnown = (key: string) => KNOWN.has(key) || ABOUT.test(key) || NAMED_TEMPLATE.test(key);
  const idle = [...metadata].filter(([key, value]) => !isKnown(key) && !saysNothing(value));
  const splits = metadata.get("tokenizer.ggml.model") === "gpt2" && !metadata.has("tokenizer.ggml.pre");
  const padding = metadata.get(PADDING);
  return [
    ...(padding !== undefined && !hasPadding(metadata)
      ? [`${where}: ${PADDING} ${padding} is no token: not used`]
      : []),
    ...(idle.length > 0 ? [`${where}: not used: ${idle.map(([key]) => key).join(", ")}`] : []),
    ...(splits ? [`${where}: it has no tokenizer.ggml.pre: text is split as GPT-2 does`] : []),
  ];
}
