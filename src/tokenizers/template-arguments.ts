import { nearest, UserError } from "../tensor/errors.js";
import { type ChatTemplates, onlyTemplates, specialTokens, type TokenizerFiles, templatesForConfig } from "./files.js";

/**
 * What a chat template is given beside the conversation, by name, as `apply_chat_template` of transformers takes it:
 * `enable_thinking`, `date_string`, ... Values are JSON's.
 */
export type TemplateArguments = Readonly<Record<string, unknown>>;

/** A name that a template can read. */
const ARGUMENT_NAME = /^[A-Za-z_]\w*$/;

/** What every conversation brings with it. */
const RESERVED: readonly string[] = ["messages", "tools", "documents", "add_generation_prompt", "now", "self"];

/** Why no argument can have this name; undefined when one can. */
export function argumentFault(name: string): string | undefined {
  if (!ARGUMENT_NAME.test(name)) return "is no name that a chat template can read";
  return RESERVED.includes(name) ? "comes with every conversation, so it is no argument" : undefined;
}

/**
 * Throws UserError for arguments that would change nothing: a checkpoint's templates do not have the name, or always have
 * another value for it.
 */
export function refuseIdleArguments(
  files: Omit<TokenizerFiles, "tokenizerJson" | "originals">,
  given: TemplateArguments,
): void {
  const { chatTemplate = "", namedTemplates } = files;
  const read = new Set([chatTemplate, ...(namedTemplates?.values() ?? [])].flatMap(namesIn));
  for (const name of Object.keys(given)) {
    const fault =
      argumentFault(name) ?? (name in specialTokens(files) ? "is one of the model's own tokens" : undefined);
    if (fault) throw new UserError(`chat_template_kwargs: '${name}' ${fault}`);
    if (read.has(name)) continue;
    const near = nearest(name, [...read]);
    throw new UserError(
      `chat_template_kwargs: the chat template nowhere reads '${name}'${near ? `; did you mean '${near}'?` : ", so it would change nothing: leave it out"}`,
    );
  }
}

const namesIn = (template: string): readonly string[] => template.match(/[A-Za-z_]\w*/g) ?? [];

/**
 * A tokenizer whose templates begin by giving these arguments their values, where whoever renders them gives none. So they
 * are kept wherever the template goes, and every other system that runs it uses them too. Throws UserError as
 * `refuseIdleArguments`.
 */
export function withTemplateArguments(files: TokenizerFiles, given: TemplateArguments): TokenizerFiles {
  if (Object.keys(given).length === 0) return files;
  refuseIdleArguments(files, given);
  const head = Object.entries(given).map(([name, value]) => defaultOf(name, value));
  // A template's first newline would be taken for that of the last tag (trim_blocks); so it gets this one.
  const pinned = (template: string) => `${head.join("")}\n${template}`;
  const { chatTemplate, namedTemplates } = files;
  const templates: ChatTemplates = {
    ...(chatTemplate === undefined ? {} : { chatTemplate: pinned(chatTemplate) }),
    ...(namedTemplates
      ? { namedTemplates: new Map([...namedTemplates].map(([name, text]) => [name, pinned(text)])) }
      : {}),
  };
  return withTemplates(files, templates);
}

const defaultOf = (name: string, value: unknown): string =>
  `{%- if ${name} is not defined %}{%- set ${name} = ${jinjaLiteral(value)} %}{%- endif %}`;

/** A JSON value as jinja2 writes it. */
function jinjaLiteral(value: unknown): string {
  if (value === null || value === undefined) return "none";
  if (Array.isArray(value)) return `[${value.map(jinjaLiteral).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const pairs = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${jinjaLiteral(item)}`);
  return `{${pairs.join(", ")}}`;
}

const TEMPLATE_FILE = /^(chat_template\.(jinja|json)|additional_chat_templates\/.*)$/;

/**
 * A tokenizer with other templates. Its files stay as they were, but for the templates, which are in
 * tokenizer_config.json alone, where every version of every reader looks.
 */
function withTemplates(files: TokenizerFiles, templates: ChatTemplates): TokenizerFiles {
  const { chatTemplate: _default, namedTemplates: _named, originals, ...rest } = files;
  const tokenizerConfig = { ...files.tokenizerConfig, chat_template: templatesForConfig(templates) };
  if (!originals) return { ...rest, tokenizerConfig, ...templates };
  const kept = new Map([...originals].filter(([name]) => !TEMPLATE_FILE.test(name)));
  kept.set("tokenizer_config.json", new TextEncoder().encode(`${JSON.stringify(tokenizerConfig, null, 2)}\n`));
  return { ...rest, tokenizerConfig, ...onlyTemplates(templates), originals: kept };
}
