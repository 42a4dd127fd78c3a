/** A checkpoint's chat templates: the one for every conversation, and others by name, such as `tool_use`. */
export interface ChatTemplates {
  /** Jinja source of the only template, or of the one named "default". */
  readonly chatTemplate?: string;
  /** Jinja sources by name, "default" not among them. */
  readonly namedTemplates?: ReadonlyMap<string, string>;
}

/** A checkpoint's tokenizer, in Hugging Face's own formats whatever file it came from. */
export interface TokenizerFiles extends ChatTemplates {
  /** `tokenizer.json`, parsed. */
  readonly tokenizerJson: object;
  /** `tokenizer_config.json`, parsed; `{}` when the checkpoint has none. */
  readonly tokenizerConfig: Record<string, unknown>;
  /** `special_tokens_map.json`, parsed, when there is one. */
  readonly specialTokensMap?: Record<string, unknown>;
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

/**
 * The special tokens that have a name, as transformers gives them to templates: every `*_token` of the configuration and
 * the named ones of `extra_special_tokens`. `special_tokens_map.json` comes first where the configuration has no
 * `added_tokens_decoder`, as there.
 */
export function specialTokens({
  tokenizerConfig: config,
  specialTokensMap: map,
}: Pick<TokenizerFiles, "tokenizerConfig" | "specialTokensMap">): Record<string, string> {
  const merged = map && config.added_tokens_decoder === undefined ? { ...config, ...map } : config;
  const extra = merged.extra_special_tokens;
  const named = typeof extra === "object" && extra !== null && !Array.isArray(extra) ? Object.entries(extra) : [];
  const tokens = [...Object.entries(merged).filter(([key]) => key.endsWith("_token")), ...named];
  return Object.fromEntries(
    tokens.flatMap(([key, token]) => {
      const text = tokenContent(token);
      return text === undefined ? [] : [[key, text]];
    }),
  );
}

/** The templates of a tokenizer_config's `chat_template`: a string, or a list of `{ name, template }`. */
export function configTemplates(chatTemplate: unknown): ChatTemplates {
  if (typeof chatTemplate === "string") return { chatTemplate };
  if (!Array.isArray(chatTemplate)) return {};
  const entries = (chatTemplate as { name?: unknown; template?: unknown }[]).flatMap((entry) =>
    typeof entry?.name === "string" && typeof entry.template === "string"
      ? [[entry.name, entry.template] as const]
      : [],
  );
  return templatesOf(new Map(entries));
}

/** Templates by name, "default" among them. */
export function templatesOf(byName: ReadonlyMap<string, string>): ChatTemplates {
  const { default: chatTemplate, ...others } = Object.fromEntries(byName);
  const namedTemplates = new Map(Object.entries(others));
  return {
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
    ...(namedTemplates.size === 0 ? {} : { namedTemplates }),
  };
}

/** The value of `chat_template` in a tokenizer_config.json that holds these templates; undefined when there are none. */
export function templatesForConfig({ chatTemplate, namedTemplates }: ChatTemplates): unknown {
  if (!namedTemplates) return chatTemplate;
  const named = [...namedTemplates].map(([name, template]) => ({ name, template }));
  return chatTemplate === undefined ? named : [{ name: "default", template: chatTemplate }, ...named];
}

/** Has the tokenizer any chat template? */
export const hasTemplates = ({ chatTemplate, namedTemplates }: ChatTemplates): boolean =>
  chatTemplate !== undefined || namedTemplates !== undefined;

/** The templates of a tokenizer alone. */
export const onlyTemplates = ({ chatTemplate, namedTemplates }: ChatTemplates): ChatTemplates => ({
  ...(chatTemplate === undefined ? {} : { chatTemplate }),
  ...(namedTemplates === undefined ? {} : { namedTemplates }),
});

/** Do two tokenizers write conversations by the same templates? */
export const sameTemplates = (a: ChatTemplates, b: ChatTemplates): boolean =>
  JSON.stringify(templatesForConfig(a)) === JSON.stringify(templatesForConfig(b));
