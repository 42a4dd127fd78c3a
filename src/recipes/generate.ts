import { decodeTokens } from "../generation/generate.js";
import type { FinishReason, SamplingOptions, TokenConstraint } from "../generation/types.js";
import { UserError } from "../tensor/index.js";
import { createPace } from "../tensor/pace.js";
import type { ChatTemplate, Message } from "../tokenizers/chat-template.js";
import { fewestTokens } from "../tokenizers/fewest-tokens.js";
import type { TemplateArguments } from "../tokenizers/template-arguments.js";
import type { ToolFormat } from "../tokenizers/tools/index.js";
import { asRun, type Run } from "./events.js";
import { createTokenLog, type TokenLogprob, tokenChances } from "./logprobs.js";
import { type LoadedAdapter, type LoadedModel, stopIds } from "./model.js";
import { untilStop } from "./stop-strings.js";
import type { formConstraint, ResponseFormat } from "./text-grammar.js";
import type { ToolCalling } from "./tools/calling.js";
import { markIds } from "./tools/marks.js";

/** What is answered: raw text, which gets the BOS that the tokenizer adds and no template, or a conversation. */
export type Prompt =
  | { readonly prompt: string }
  | {
      readonly messages: readonly Message[];
      /** Shown to the model by the template. */
      readonly tools?: readonly unknown[];
      /** Arguments of the chat template, before all others. */
      readonly chatTemplateKwargs?: TemplateArguments;
    };

/** A prompt as tokens, for one adapter. */
export interface EncodedPrompt {
  readonly promptIds: readonly number[];
  /** The tokens that end the text. */
  readonly stops: ReadonlySet<number>;
  /** The answer goes on within a text: a space that it begins with is part of it. */
  readonly continues: boolean;
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
  const chat = "messages" in input ? (adapter?.chat ?? model.chat)() : undefined;
  const text = "messages" in input ? await rendered(chat!, input) : input.prompt;
  const context = model.resident.config.maxPositionEmbeddings;
  refuseLong(leastTokens(model, text), context, "at least ");
  const promptIds = await tokensOf(model, text, { addSpecialTokens: !chat, signal });
  refuseLong(promptIds.length, context);
  const stops = await stopIds(model, chat);
  const tools = "messages" in input && input.tools ? { toolFormat: chat!.toolFormat } : {};
  return { promptIds, stops, continues: !chat && text !== "", ...tools };
}

function rendered(chat: ChatTemplate, { messages, ...more }: Extract<Prompt, { messages: unknown }>): Promise<string> {
  return chat.render(messages, { addGenerationPrompt: true, ...more });
}

async function tokensOf(
  { tokenizer }: LoadedModel,
  text: string,
  { addSpecialTokens, signal }: { readonly addSpecialTokens: boolean; readonly signal: AbortSignal | undefined },
): Promise<number[]> {
  const pace = createPace();
  const steps = tokenizer.encodeInSteps(text, { addSpecialTokens });
  for (;;) {
    const { done, value } = steps.next();
    if (done) return [...value.ids];
    await pace();
    signal?.throwIfAborted();
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
    ...options
  }: GenerateTextOptions,
): AsyncGenerator<string, Generated> {
  const { tokenizer, decoder } = model;
  const encoded = "promptIds" in input ? input : await encodePrompt(model, input, { adapter, signal: options.signal });
  const { promptIds, stops, continues } = encoded;
  const room = model.resident.config.maxPositionEmbeddings - promptIds.length;
  const most = Math.min(maxNewTokens, room);
  const log = createTokenLog(onToken);
  const chances: ReturnType<typeof tokenChances>[] = [];
  let written = 0;
  const calling = callingOf(encoded, toolCalling);
  const hooks: Pick<SamplingOptions, "constraint" | "observe"> = {
    ...(format || calling
      ? { constraint: await constraintFor(tokenizer, { format, calling }, { stopIds: stops, maxTokens: most }) }
      : {}),
    ...(logprobs === undefined
      ? {}
      : {
          observe: (id, logits) => void chances.push(tokenChances(tokenizer, logits, id, logprobs)),
        }),
  };
  const tokens = decodeTokens(
    decoder,
    promptIds,
    { ...options, ...hooks, maxNewTokens: most, stopIds: stops },
    adapter?.resident,
  );
  const tokenIds: number[] = [];
  const stream = tokenizer.decoder({ continues, ...(calling ? { keeps: markIds(tokenizer, calling.as) } : {}) });
  const watch = untilStop(stop);
  let text = "";
  try {
    let next = await tokens.next();
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
