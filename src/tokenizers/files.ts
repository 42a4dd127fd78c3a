/** A checkpoint's tokenizer, in Hugging Face's own formats whatever file it came from. */
export interface TokenizerFiles {
  /** `tokenizer.json`, parsed. */
  readonly tokenizerJson: object;
  /** `tokenizer_config.json`, parsed; `{}` when the checkpoint has none. */
  readonly tokenizerConfig: Record<string, unknown>;
  /** `special_tokens_map.json`, parsed, when there is one. */
  readonly specialTokensMap?: Record<string, unknown>;
  /** The chat template's Jinja source: `chat_template.jinja`, else the config's (of several, the one named "default"). */
  readonly chatTemplate?: string;
  /** The files as they were, by name, to be copied beside an adapter or a merged model. */
  readonly originals?: ReadonlyMap<string, Uint8Array>;
}

/**
 * The configuration with the special tokens that `special_tokens_map.json` names: it comes first where the configuration
 * has no `added_tokens_decoder`, and does not count beside one, as in transformers.
 */
export function namedTokens({
  tokenizerConfig: config,
  specialTokensMap: map,
}: Pick<TokenizerFiles, "tokenizerConfig" | "specialTokensMap">): Readonly<Record<string, unknown>> {
  return map && config.added_tokens_decoder === undefined ? { ...config, ...map } : config;
}

/** The text of a special token in `tokenizer_config.json`, which is a string or an AddedToken object; else undefined. */
export function tokenContent(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : undefined;
}

/** Picks the chat template out of a tokenizer_config's `chat_template`: a string, or a list of named templates. */
export function namedTemplate(chatTemplate: unknown): string | undefined {
  if (typeof chatTemplate === "string") return chatTemplate;
  if (!Array.isArray(chatTemplate)) return undefined;
  const entries = chatTemplate as { name?: unknown; template?: unknown }[];
  const entry = entries.find((e) => e?.name === "default") ?? entries[0];
  return typeof entry?.template === "string" ? entry.template : undefined;
}
