import { UserError } from "../tensor/index.js";
import { type ChatTemplates, hasTemplates, onlyTemplates, specialTokens, type TokenizerFiles } from "./files.js";
import { type Rendered, renderAll, type Span, type TemplateContext } from "./jinja.js";
import { keysOf } from "./json.js";
import type { TemplateArguments } from "./template-arguments.js";
import type { Tokenizer } from "./tokenizer.js";
import { type ToolFormat, type ToolTemplate, toolTemplate } from "./tools/index.js";
import { unsent } from "./transport.js";

/** One turn of a conversation. Other fields (`tool_calls`, `name`, ...) reach the template as they are. */
export interface Message {
  readonly role: string;
  /** Null, or not there, in a turn that only calls functions. */
  readonly content?: string | null;
  readonly [field: string]: unknown;
}

/** Text parts of one message as one text: each begins a line, as vLLM and llama.cpp have it. */
export const joinedParts = (texts: readonly string[]): string => texts.join("\n");

export interface ChatOptions {
  /** Write the beginning of an assistant turn after the last message. Default false. */
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly unknown[];
  /** Arguments of the template by name; they come before those of `ChatTemplateOptions`. */
  readonly chatTemplateKwargs?: TemplateArguments;
}

/**
 * Renders templates for those who cannot trust them. Results come in the contexts' order; a template that fails gives
 * errors, never a rejection. Keep one for the whole run.
 */
export interface TemplateRunner {
  render(template: string, contexts: readonly TemplateContext[]): Promise<Rendered[]>;
}

/** Renders in this thread, without limits: for templates that are known, and for tests. */
export const directRunner: TemplateRunner = {
  render: async (template, contexts) => renderAll(template, unsent(contexts)),
};

export interface ChatRequest extends ChatOptions {
  readonly messages: readonly Message[];
}

/** A conversation as text; `spans` are the characters inside `{% generation %}`, where the template has that tag. */
export interface RenderedChat {
  readonly text: string;
  readonly spans: readonly Span[];
}

/** A checkpoint's chat template, bound to its special tokens. Training, chat and serving all render through it. */
export interface ChatTemplate {
  /** The template of conversations without tools. */
  readonly source: string;
  /** All of them. */
  readonly templates: ChatTemplates;
  /** Does the template itself say, with `{% generation %}`, what the assistant writes? */
  readonly marksAssistant: boolean;
  /** How the model writes calls of tools; undefined where the template has a form of its own that is not known. */
  readonly toolFormat: ToolFormat | undefined;
  /** Text of one conversation. Throws UserError when the template refuses it. */
  render(messages: readonly Message[], options?: ChatOptions): Promise<string>;
  /** Many conversations in one trip; a conversation that cannot be rendered gives `error`. */
  renderMany(requests: readonly ChatRequest[]): Promise<(RenderedChat | { readonly error: string })[]>;
  /**
   * Token ids of a conversation: as the template writes it and nothing added, as transformers and vLLM do. So there is
   * one BOS where the template writes one, however many the tokenizer would add.
   */
  encode(messages: readonly Message[], options?: ChatOptions): Promise<number[]>;
  /** The tokens that end an assistant turn: EOS and the token the template writes after an answer. */
  stopIds(): Promise<ReadonlySet<number>>;
}

export interface ChatTemplateOptions {
  readonly runner: TemplateRunner;
  /** ISO date that `strftime_now` shows. Default 2024-07-26, the date Llama 3.2's template falls back to. */
  readonly now?: string;
  /** Arguments that every conversation is rendered with, unless it says otherwise. */
  readonly chatTemplateKwargs?: TemplateArguments;
}

/**
 * The chat template of a checkpoint: with tools the one named `tool_use`, where there is one, as in transformers. What it does not
 * write of tools and calls, `toolTemplate` adds. Throws UserError when there is none: a model that was never taught a chat format has
 * to be given one by its user, or be trained on prompt/completion or text rows.
 */
export function createChatTemplate(
  files: Omit<TokenizerFiles, "tokenizerJson" | "originals">,
  tokenizer: Tokenizer,
  { runner, now, chatTemplateKwargs }: ChatTemplateOptions,
): ChatTemplate {
  const source = defaultTemplate(files);
  const withTools = files.namedTemplates?.get("tool_use") ?? source;
  const forTools = new Map<string, ToolTemplate>();
  const forToolsOf = (template: string): ToolTemplate => {
    let made = forTools.get(template);
    if (!made) forTools.set(template, (made = toolTemplate(template)));
    return made;
  };
  const templateOf = (request: ChatRequest): string => {
    const template = request.tools ? withTools : source;
    return usesTools(request) ? forToolsOf(template).template : template;
  };
  const tokens = tokensFor(files, tokenizer);
  const contextOf = ({ messages, addGenerationPrompt = false, tools, ...more }: ChatRequest): TemplateContext => ({
    ...tokens,
    ...chatTemplateKwargs,
    ...more.chatTemplateKwargs,
    messages: messages.map(asTemplatesGetIt),
    tools: tools ?? null,
    documents: null,
    add_generation_prompt: addGenerationPrompt,
    ...(now === undefined ? {} : { now }),
  });

  const renderMany: ChatTemplate["renderMany"] = async (requests) => {
    const results = new Array<Rendered>(requests.length);
    const wanted = requests.map(templateOf);
    for (const template of new Set(wanted)) {
      const chosen = wanted.flatMap((one, i) => (one === template ? [i] : []));
      const rendered = await runner.render(
        template,
        chosen.map((i) => contextOf(requests[i]!)),
      );
      chosen.forEach((i, n) => {
        results[i] = rendered[n]!;
      });
    }
    return results;
  };
  const render: ChatTemplate["render"] = async (messages, options) => {
    const [result] = await renderMany([{ messages, ...options }]);
    if ("error" in result!) throw new UserError(`chat template: ${result.error}`);
    return result!.text;
  };
  return {
    source,
    templates: onlyTemplates(files),
    marksAssistant: [source, withTools].every((template) => /\{%[-+]?\s*generation\s*[-+]?%\}/.test(template)),
    get toolFormat() {
      return forToolsOf(withTools).format;
    },
    render,
    renderMany,
    encode: async (messages, options) => tokenizer.encode(await render(messages, options), { addSpecialTokens: false }),
    async stopIds() {
      const ids = new Set(tokenizer.eosId === undefined ? [] : [tokenizer.eosId]);
      const [chat] = await renderMany([{ messages: [turn("user", "question"), turn("assistant", "answer")] }]);
      if ("error" in chat!) return ids;
      const after = chat!.text.slice(chat!.text.lastIndexOf("answer") + "answer".length).trimStart();
      const next = tokenizer.encode(after, { addSpecialTokens: false })[0];
      return next !== undefined && tokenizer.addedIds.has(next) ? ids.add(next) : ids;
    },
  };
}

/** Does a conversation show tools, or call some? */
const usesTools = ({ tools, messages }: ChatRequest): boolean =>
  (tools !== undefined && tools.length > 0) ||
  messages.some(({ tool_calls: calls }) => Array.isArray(calls) && calls.length > 0);

const turn = (role: string, content: string): Message => ({ role, content });

/** The template of conversations without tools. Throws UserError when there is none. */
function defaultTemplate({ chatTemplate, namedTemplates }: ChatTemplates): string {
  if (chatTemplate !== undefined) return chatTemplate;
  if (hasTemplates({ namedTemplates })) {
    throw new UserError(
      `chat template: this model has several (${[...namedTemplates!.keys()].sort().join(", ")}) and none named default; give the one to use as chat_template.jinja beside its tokenizer.json`,
    );
  }
  throw new UserError(
    "chat template: this model has none, so rows of messages cannot be written the way it expects. Put a chat_template.jinja beside its tokenizer.json (for instance ChatML's), or use rows with prompt and completion, or with text.",
  );
}

function tokensFor(files: Pick<TokenizerFiles, "tokenizerConfig" | "specialTokensMap">, tokenizer: Tokenizer) {
  return {
    ...(tokenizer.bosToken === undefined ? {} : { bos_token: tokenizer.bosToken }),
    ...(tokenizer.eosToken === undefined ? {} : { eos_token: tokenizer.eosToken }),
    ...specialTokens(files),
  };
}

/** Names that the reasoning of a message goes by; templates read the first, some of them the second. */
const reasoningFields = ["reasoning_content", "thinking", "reasoning"] as const;

const prepared = new WeakMap<Message, Message>();

/** A message as transformers hands it to templates: without fields that are null, its reasoning under both names. */
function asTemplatesGetIt(message: Message): Message {
  let made = prepared.get(message);
  if (made) return made;
  const entries = keysOf(message).flatMap((key) => (message[key] === null ? [] : [[key, message[key]] as const]));
  const given = Object.fromEntries(entries) as Message;
  const reasoning = reasoningFields.map((field) => given[field]).find((value) => value !== undefined);
  made = reasoning === undefined ? given : { thinking: reasoning, ...given, reasoning_content: reasoning };
  prepared.set(message, made);
  return made;
}
