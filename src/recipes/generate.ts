import { decodeTokens } from "../generation/generate.js";
import type { FinishReason, SamplingOptions } from "../generation/types.js";
import type { Message } from "../tokenizers/chat-template.js";
import { asRun, type Run } from "./events.js";
import { jsonText } from "./json-text.js";
import { createTokenLog, type TokenLogprob, tokenChances } from "./logprobs.js";
import { type LoadedAdapter, type LoadedModel, stopIds } from "./model.js";
import { untilStop } from "./stop-strings.js";

/** What is answered: raw text, which gets the BOS that the tokenizer adds and no template, or a conversation. */
export type Prompt = { readonly prompt: string } | { readonly messages: readonly Message[] };

export interface GenerateTextOptions extends Omit<SamplingOptions, "constraint" | "observe"> {
  /** Default 256. */
  readonly maxNewTokens?: number;
  /** Default: none, the base answers. */
  readonly adapter?: LoadedAdapter;
  /** Strings that end the text where they begin; they are not part of it. Default: none. */
  readonly stop?: readonly string[];
  /** The text is one JSON object, whole within `maxNewTokens` whatever the model would rather say. Default false. */
  readonly json?: boolean;
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
 * Continues a prompt or answers a conversation. Iterate over the run for pieces of text as they come, or await `result()`.
 * Throws UserError for an empty prompt, one longer than the context, or messages that the template refuses.
 */
export function generate(model: LoadedModel, input: Prompt, options: GenerateTextOptions = {}): Run<string, Generated> {
  return asRun(program(model, input, options));
}

async function* program(
  model: LoadedModel,
  input: Prompt,
  { maxNewTokens = 256, adapter, stop = [], json = false, logprobs, onToken, ...options }: GenerateTextOptions,
): AsyncGenerator<string, Generated> {
  const { tokenizer, decoder } = model;
  const chat = "messages" in input ? (adapter?.chat ?? model.chat)() : undefined;
  const promptIds =
    "messages" in input
      ? await chat!.encode(input.messages, { addGenerationPrompt: true })
      : tokenizer.encode(input.prompt);
  const stops = await stopIds(model, chat);
  const room = model.resident.config.maxPositionEmbeddings - promptIds.length;
  const most = room > 0 ? Math.min(maxNewTokens, room) : maxNewTokens;
  const log = createTokenLog(onToken);
  const chances: ReturnType<typeof tokenChances>[] = [];
  let written = 0;
  const hooks: Pick<SamplingOptions, "constraint" | "observe"> = {
    ...(json ? { constraint: jsonText(tokenizer, { stopIds: stops, maxTokens: most }) } : {}),
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
  const stream = tokenizer.decoder();
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
