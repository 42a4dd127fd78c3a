import type { GgufValue } from "./reader.js";
import { hasPadding } from "./tokenizer.js";

/** Keys of the tokenizer that are read or change nothing: ids of tokens that no text is split by, and tables of other kinds of vocabulary, change nothing. */
const TOKENIZER =
  "add_bos_token add_eos_token add_space_prefix bos_token_id cls_token_id eom_token_id eos_token_id eot_token_id fim_mid_token_id " +
  "fim_pad_token_id fim_pre_token_id fim_rep_token_id fim_sep_token_id fim_suf_token_id mask_token_id merges middle_token_id model " +
  "padding_token_id pre prefix_token_id scores separator_token_id seperator_token_id suffix_token_id token_type token_type_count " +
  "tokens unknown_token_id";

const KNOWN: ReadonlySet<string> = new Set([
  ...TOKENIZER.split(" ").map((key) => `tokenizer.ggml.${key}`),
  "tokenizer.chat_template",
  "tokenizer.chat_templates", // the names of those that have names
  "tokenizer.huggingface.json",
]);

/** What a file says of itself, and how it was made. */
const ABOUT = /^(general|split|quantize|imatrix)\./;
const PADDING = "tokenizer.ggml.padding_token_id";
const NAMED_TEMPLATE = /^tokenizer\.chat_template\.\w+$/;

/** Sentences about what a GGUF's metadata says and nothing here uses, beside the keys that a configuration was read from (`used`). */
export function ggufNotes(
  metadata: ReadonlyMap<string, GgufValue>,
  used: ReadonlySet<string>,
  where: string,
): string[] {
  const saysNothing = (value: GgufValue) => !value || (typeof value === "object" && value.length === 0);
  const isKnown = (key: string) => used.has(key) || KNOWN.has(key) || ABOUT.test(key) || NAMED_TEMPLATE.test(key);
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
