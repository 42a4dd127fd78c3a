import { decodeTokens } from "../generation/generate.js";
import type { FinishReason, GenerateOptions, SamplingOptions, TokenConstraint } from "../generation/types.js";
import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { fewestTokens } from "../tokenizers/fewest-tokens.js";
import type { ToolFormat } from "../tokenizers/tools/index.js";
import { createPromptLog, promptText } from "./echo.js";
import { asRun, type Run } from "./events.js";
import { createTokenLog, type TokenLogprob, tokenChances } from "./logprobs.js";
import { type LoadedAdapter, type LoadedModel, stopIds } from "./model.js";
import { untilStop } from "./stop-strings.js";
import type { formConstraint, ResponseFormat } from "./text-grammar.js";
import { opensThoughts } from "./thoughts.js";
import { type Conversation, rendered, tokensOf } from "./tokenize.js";
import type { ToolCalling } from "./tools/calling.js";
import { markIds } from "./tools/marks.js";

/**
 * What is answered: raw text, which gets the BOS that the tokenizer adds and no template, the same as token ids, to which nothing is
 * added, or a conversation.
 */
export type Prompt =
  | { readonly prompt: string }
  | { readonly tokenIds: readonly number[] }
  | Omit<Conversation, "addGenerationPrompt">;

/** A prompt as tokens, for one adapter. */
export interface EncodedPrompt {
  readonly promptIds: readonly number[];
  /** The tokens that end the text. */
  readonly stops: ReadonlySet<number>;
  /** The answer goes on within a text: a space that it begins with is part of it. */
  readonly continues: boolean;
  /** Of a conversation: whether the prompt opened a `<think>` block, in which the answer then begins. */
  readonly thinks?: boolean;
  /** Of raw text: itself, and where in it each token begins; -1 for those that the tokenizer added. */
  readonly given?: { readonly text: string; readonly starts: readonly number[] };
  /** With tools: how calls of them are written in an answer; undefined where the chat template has a form that is not known. */
  readonly toolFormat?: ToolFormat | undefined;
}

export interface GenerateTextOptions extends Omit<SamplingOptions, "constraint" | "observe"> {
  /** Default 256. */
  readonly maxNewTokens?: number;
  /** Default: none, the base answers. */
  readonly adapter?: LoadedAdapter;
  /** Strings that end the text where they begin; they are not part of it. Default: none. */
  readonly stop?: readonly string[];
  /**
   * The text is one JSON object, or fits a JSON Schema, and is whole within `maxNewTokens` whatever the model would rather say.
   * Default: any text.
   */
  readonly responseFormat?: ResponseFormat;
  /** The text begins with the prompt's own, and with `logprobs` its tokens are among those told. Default false. */
  readonly echo?: boolean;
  /**
   * Tools that the answer may or has to call; the prompt shows them. The text is as the model writes it, calls and their marks
   * included, and a call that has begun is whole within `maxNewTokens`. Default: nothing is held.
   */
  readonly toolCalling?: ToolCalling;
  /** Log probabilities of the tokens, each with so many of the likeliest ones of its place. Default: none are taken. */
  readonly logprobs?: number;
  /** With `logprobs`: told of each token before the piece of text that it is in. */
  readonly onToken?: (token: TokenLogprob) => void;
  /** Aborting ends the text where it is. */
  readonly signal?: AbortSignal;
}

export interface Generated {
  readonly promptIds: readonly number[];
  /** New tokens with the stop token that ended them, as transformers' `generate` returns them; `text` is without it. */
  readonly tokenIds: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
  /** With `logprobs`: the tokens of `text`, without the one that ended it. */
  readonly logprobs?: readonly TokenLogprob[];
}

/**
 * The tokens of a prompt. A text that cannot fit is refused before it is tokenised, and others get a turn while a long one is.
 * Throws UserError for a prompt that is too long, and for messages that the template refuses.
 */
export async function encodePrompt(
  model: LoadedModel,
  input: Prompt,
  { adapter, signal }: { readonly adapter?: LoadedAdapter; readonly signal?: AbortSignal } = {},
): Promise<EncodedPrompt> {
  const context = model.resident.config.maxPositionEmbeddings;
  if ("tokenIds" in input) {
    refuseLong(input.tokenIds.length, context);
    refuseUnknown("the prompt", input.tokenIds, model.resident.config.vocabSize);
    return { promptIds: input.tokenIds, stops: await stopIds(model, undefined), continues: true };
  }
  const chat = "messages" in input ? (adapter?.chat ?? model.chat)() : undefined;
  const text = "messages" in input ? await rendered(chat!, input) : input.prompt;
  refuseLong(leastTokens(model, text), context, "at least ");
  const { ids: promptIds, starts } = await tokensOf(model.tokenizer, text, { addSpecialTokens: !chat, signal });
  refuseLong(promptIds.length, context);
  const tools = "messages" in input && input.tools ? { toolFormat: chat!.toolFormat } : {};
  const more = chat ? { thinks: opensThoughts(text), ...tools } : { given: { text, starts } };
  return { promptIds, stops: await stopIds(model, chat), continues: !chat && text !== "", ...more };
}

function refuseUnknown(what: string, ids: Iterable<number>, vocabSize: number): void {
  for (const id of ids) {
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) continue;
    throw new UserError(`${what}: expected token ids, whole numbers from 0 to ${vocabSize - 1}, got ${id}`);
  }
}

const estimates = new WeakMap<LoadedModel, (text: string) => number>();

function leastTokens(model: LoadedModel, text: string): number {
  let estimate = estimates.get(model);
  if (!estimate) estimates.set(model, (estimate = fewestTokens(model.open.tokenizer, model.tokenizer)));
  return estimate(text);
}

function refuseLong(tokens: number, context: number, about = ""): void {
  if (tokens < context) return;
  throw new UserError(
    `the prompt has ${about}${tokens} tokens; the model's context holds ${context}, the answer included: shorten it`,
    { code: "context_length_exceeded" },
  );
}

/**
 * Continues a prompt or answers a conversation. Iterate over the run for pieces of text as they come, or await `result()`.
 * Throws UserError for an empty prompt, one longer than the context, or messages that the template refuses.
 */
export function generate(
  model: LoadedModel,
  input: Prompt | EncodedPrompt,
  options: GenerateTextOptions = {},
): Run<string, Generated> {
  return asRun(program(model, input, options));
}

/** Grammars are loaded only where one is asked for. */
async function constraintFor(...given: Parameters<typeof formConstraint>): Promise<TokenConstraint> {
  return (await import("./text-grammar.js")).formConstraint(...given);
}

/** The tools that an answer may call, and how. Throws UserError where the model's way to call them is not known. */
function callingOf({ toolFormat: as }: EncodedPrompt, tools: ToolCalling | undefined) {
  if (!tools || tools.choice === "none") return undefined;
  if (as) return { tools, as };
  throw new UserError(
    "tools: the chat template writes calls in a form that is not known, so none could be read from an answer; known are those of Hermes and Qwen, Llama 3, Mistral and Granite",
  );
}

async function* program(
  model: LoadedModel,
  input: Prompt | EncodedPrompt,
  {
    maxNewTokens = 256,
    adapter,
    stop = [],
    responseFormat: format,
    toolCalling,
    logprobs,
    onToken,
    echo,
    ...options
  }: GenerateTextOptions,
): AsyncGenerator<string, Generated> {
  const { tokenizer, decoder } = model;
  const encoded = "promptIds" in input ? input : await encodePrompt(model, input, { adapter, signal: options.signal });
  const { promptIds, stops, continues } = encoded;
  const { maxPositionEmbeddings, vocabSize } = model.resident.config;
  const most = Math.min(maxNewTokens, maxPositionEmbeddings - promptIds.length);
  refuseUnknown(option("logitBias"), options.logitBias?.keys() ?? [], vocabSize);
  const log = createTokenLog(onToken);
  const chances: ReturnType<typeof tokenChances>[] = [];
  const calling = callingOf(encoded, toolCalling);
  const head = echo ? promptText(tokenizer, encoded) : { text: "", offsets: [] };
  const prompt = echo && logprobs !== undefined ? createPromptLog(tokenizer, promptIds[0]!, head, logprobs) : undefined;
  const hooks: Pick<GenerateOptions, "constraint" | "observe" | "observePrompt"> = {
    ...(format || calling
      ? { constraint: await constraintFor(tokenizer, { format, calling }, { stopIds: stops, maxTokens: most }) }
      : {}),
    ...(logprobs === undefined
      ? {}
      : { observe: (id, logits) => void chances.push(tokenChances(tokenizer, logits, id, logprobs)) }),
    ...(prompt ? { observePrompt: prompt.observe } : {}),
  };
  const settings = { ...options, ...hooks, maxNewTokens: most, stopIds: stops };
  const tokens = decodeTokens(decoder, promptIds, settings, adapter?.resident);
  const tokenIds: number[] = [];
  const stream = tokenizer.decoder({ continues, ...(calling ? { keeps: markIds(tokenizer, calling.as) } : {}) });
  const watch = untilStop(stop);
  let { text } = head;
  let written = text.length;
  try {
    let next = await tokens.next();
    for (const token of prompt?.tokens() ?? []) log.add(token);
    log.released(text.length);
    if (text) yield text;
    for (; !next.done; next = await tokens.next()) {
      tokenIds.push(next.value);
      const chance = chances.shift();
      if (stops.has(next.value)) continue;
      if (chance) log.add({ ...chance, offset: written });
      const made = stream.push(next.value);
      written += made.length;
      const piece = watch.push(made);
      text += piece;
      log.released(text.length);
      if (piece) yield piece;
      if (watch.stopped) break;
    }
    const rest = watch.push(stream.end()) + watch.end();
    text += rest;
    log.released(watch.stopped ? text.length : Number.POSITIVE_INFINITY);
    if (rest) yield rest;
    const finishReason = watch.stopped || !next.done ? "stop" : next.value;
    return { promptIds, tokenIds, text, finishReason, ...(logprobs === undefined ? {} : { logprobs: log.tokens }) };
  } finally {
    await tokens.return("abort");
  }
}
