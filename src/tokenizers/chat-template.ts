import { UserError } from "../tensor/index.js";
import type { TokenizerFiles } from "./files.js";
import { generationMarks, type Rendered, renderAll, type TemplateContext } from "./jinja.js";
import type { Tokenizer } from "./tokenizer.js";

/** One turn of a conversation. Other fields (`tool_calls`, `name`, ...) reach the template as they are. */
export interface Message {
  readonly role: string;
  /** Null, or not there, in a turn that only calls functions. */
  readonly content?: string | null;
  readonly [field: string]: unknown;
}

export interface ChatOptions {
  /** Write the beginning of an assistant turn after the last message. Default false. */
  readonly addGenerationPrompt?: boolean;
  readonly tools?: readonly unknown[];
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
  render: async (template, contexts) => renderAll(template, contexts),
};

export interface ChatRequest extends ChatOptions {
  readonly messages: readonly Message[];
}

/** A conversation as text; `spans` are the characters inside `{% generation %}`, where the template has that tag. */
export interface RenderedChat {
  readonly text: string;
  readonly spans: readonly (readonly [start: number, end: number])[];
}

/** A checkpoint's chat template, bound to its special tokens. Training, chat and serving all render through it. */
export interface ChatTemplate {
  readonly source: string;
  /** Does the template itself say, with `{% generation %}`, what the assistant writes? */
  readonly marksAssistant: boolean;
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
}

/**
 * The chat template of a checkpoint. Throws UserError when it has none: a model that was never taught a chat format has
 * to be given one by its user, or be trained on prompt/completion or text rows.
 */
export function createChatTemplate(
  files: Pick<TokenizerFiles, "chatTemplate">,
  tokenizer: Tokenizer,
  { runner, now }: ChatTemplateOptions,
): ChatTemplate {
  const source = files.chatTemplate;
  if (source === undefined) {
    throw new UserError(
      "chat template: this model has none, so rows of messages cannot be written the way it expects. Put a chat_template.jinja beside its tokenizer.json (for instance ChatML's), or use rows with prompt and completion, or with text.",
    );
  }
  const contextOf = ({ messages, addGenerationPrompt = false, tools }: ChatRequest): TemplateContext => ({
    messages,
    tools: tools ?? null,
    documents: null,
    add_generation_prompt: addGenerationPrompt,
    ...(tokenizer.bosToken === undefined ? {} : { bos_token: tokenizer.bosToken }),
    ...(tokenizer.eosToken === undefined ? {} : { eos_token: tokenizer.eosToken }),
    ...(now === undefined ? {} : { now }),
  });

  const renderMany: ChatTemplate["renderMany"] = async (requests) => {
    const marks = { [generationMarks.start]: startMark, [generationMarks.end]: endMark };
    const results = await runner.render(
      source,
      requests.map((request) => ({ ...contextOf(request), ...marks })),
    );
    return results.map((result, i) => {
      if ("error" in result) return result;
      if (holdsMark(requests[i]!)) return { error: "its messages hold U+FDD0 or U+FDD1, which no text may hold" };
      return splitMarks(result.text);
    });
  };
  const render: ChatTemplate["render"] = async (messages, options) => {
    const [result] = await renderMany([{ messages, ...options }]);
    if ("error" in result!) throw new UserError(`chat template: ${result.error}`);
    return result!.text;
  };
  return {
    source,
    marksAssistant: /\{%-? *generation *-?%\}/.test(source),
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

const turn = (role: string, content: string): Message => ({ role, content });

// Noncharacters: Unicode keeps them for use inside a program.
const startMark = "\ufdd0";
const endMark = "\ufdd1";

function holdsMark({ messages, tools }: ChatRequest): boolean {
  return /[\ufdd0\ufdd1]/.test(JSON.stringify([messages, tools ?? null]));
}

function splitMarks(marked: string): RenderedChat {
  let text = "";
  let from: number | undefined;
  const spans: [number, number][] = [];
  for (const piece of marked.split(/([\ufdd0\ufdd1])/)) {
    if (piece === startMark) from = text.length;
    else if (piece === endMark) {
      if (from !== undefined) spans.push([from, text.length]);
      from = undefined;
    } else text += piece;
  }
  return { text, spans };
}
