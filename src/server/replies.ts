import type { TokenChance, TokenLogprob } from "../recipes/logprobs.js";
import type { IdentifiedCall, Piece, Usage } from "./answer.js";
import { apiError } from "./errors.js";
import type { Asked } from "./schema.js";

/** How an endpoint writes its answers: objects of OpenAI's API reference. */
interface Shape {
  readonly idPrefix: string;
  readonly object: string;
  readonly chunkObject: string;
  /** A choice of a whole answer. */
  choice(text: string, calls: readonly WholeCall[]): object;
  /** A choice of a streamed piece; `first`: nothing of this answer was sent before. */
  delta(piece: Pick<Piece, "text" | "calls">, first: boolean): object;
  /** A choice's `logprobs`. */
  logprobs(tokens: readonly TokenLogprob[]): object;
}

/** A call of a tool, its arguments as JSON text. */
export interface WholeCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: string;
}

/** The calls that pieces make up, in their order. */
function wholeCalls(pieces: readonly IdentifiedCall[]): WholeCall[] {
  const calls: WholeCall[] = [];
  for (const { call, id, name, arguments: more } of pieces) {
    const before = calls[call];
    calls[call] = before
      ? { ...before, arguments: before.arguments + more }
      : { id: id!, name: name!, arguments: more };
  }
  return calls;
}

export const CHAT: Shape = {
  idPrefix: "chatcmpl-",
  object: "chat.completion",
  chunkObject: "chat.completion.chunk",
  choice: (content, calls) => ({ message: { role: "assistant", refusal: null, ...saidAndCalled(content, calls) } }),
  delta: ({ text, calls }, first) => ({
    delta: {
      ...(first ? { role: "assistant" } : {}),
      ...(text ? { content: text } : {}),
      ...(calls.length > 0 ? { tool_calls: calls.map(callDelta) } : {}),
    },
  }),
  logprobs: (tokens) => ({
    content: tokens.map(({ top, ...token }) => ({ ...chance(token), top_logprobs: top.map(chance) })),
    refusal: null,
  }),
};

/** An answer's text, null where it only calls, and its calls. */
function saidAndCalled(text: string, calls: readonly WholeCall[]): object {
  if (calls.length === 0) return { content: text };
  const list = calls.map(({ id, ...called }) => ({ id, type: "function", function: called }));
  return { content: text === "" ? null : text, tool_calls: list };
}

const callDelta = ({ call, id, name, arguments: more }: IdentifiedCall): object =>
  id === undefined
    ? { index: call, function: { arguments: more } }
    : { index: call, id, type: "function", function: { name, arguments: more } };

function chance({ token, bytes, logprob }: TokenChance): object {
  return { token, logprob, bytes: [...bytes] };
}

export const TEXT: Shape = {
  idPrefix: "cmpl-",
  object: "text_completion",
  chunkObject: "text_completion",
  choice: (text) => ({ text }),
  delta: ({ text }) => ({ text }),
  logprobs: (tokens) => ({
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map(({ top }) => Object.fromEntries(top.map(({ token, logprob }) => [token, logprob]))),
    text_offset: tokens.map(({ offset }) => offset),
  }),
};

/** What is the same in every object of one reply. */
export interface Head {
  readonly id: string;
  /** Seconds since 1970. */
  readonly created: number;
  readonly model: string;
}

/** The whole reply as one object. */
export async function wholeReply(
  shape: Shape,
  head: Head,
  pieces: AsyncIterable<Piece>,
  usage: Usage,
): Promise<object> {
  const texts: string[] = [];
  const reasons: Piece["finishReason"][] = [];
  const tokens: (TokenLogprob[] | undefined)[] = [];
  const calls: IdentifiedCall[][] = [];
  for await (const { index, text, calls: called, tokens: more, finishReason } of pieces) {
    texts[index] = (texts[index] ?? "") + text;
    calls[index] ??= [];
    calls[index].push(...called);
    reasons[index] = finishReason;
    if (more) tokens[index] = [...(tokens[index] ?? []), ...more];
  }
  const choices = texts.map((text, index) => ({
    index,
    ...shape.choice(text, wholeCalls(calls[index]!)),
    logprobs: tokens[index] ? shape.logprobs(tokens[index]) : null,
    finish_reason: reasons[index],
  }));
  return { ...head, object: shape.object, choices, usage: usageObject(usage) };
}

/**
 * The reply as server-sent events. The first piece is made before this returns, so that a refusal still is a reply of its
 * own; what goes wrong later is sent as an event with `error`. `onEnd` is told when all is over: an error, that the client
 * left, or nothing.
 */
export async function streamedReply(
  shape: Shape,
  head: Head,
  asked: Asked,
  pieces: AsyncGenerator<Piece, void>,
  usage: Usage,
  onEnd: (outcome?: { readonly error: unknown } | "left") => void,
): Promise<ReadableStream<Uint8Array>> {
  const first = await pieces.next();
  const events = eventsOf(shape, head, asked, prepend(first, pieces), usage);
  const utf8 = new TextEncoder();
  let ended = false;
  const end: typeof onEnd = (outcome) => {
    if (!ended) onEnd(outcome);
    ended = true;
  };
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await events.next();
        if (ended) return;
        if (!done) return controller.enqueue(utf8.encode(`data: ${value}\n\n`));
        end();
      } catch (error) {
        if (ended) return;
        end({ error });
        controller.enqueue(utf8.encode(`data: ${JSON.stringify(apiError(error).body())}\n\n`));
      }
      controller.close();
    },
    async cancel() {
      end("left");
      await events.return(undefined);
    },
  });
}

async function* prepend(
  first: IteratorResult<Piece, void>,
  rest: AsyncGenerator<Piece, void>,
): AsyncGenerator<Piece, void> {
  try {
    if (first.done) return;
    yield first.value;
    yield* rest;
  } finally {
    await rest.return();
  }
}

async function* eventsOf(
  shape: Shape,
  head: Head,
  { includeUsage }: Asked,
  pieces: AsyncIterable<Piece>,
  usage: Usage,
): AsyncGenerator<string, void> {
  const common = { ...head, object: shape.chunkObject };
  const begun = new Set<number>();
  for await (const { index, tokens, finishReason, ...piece } of pieces) {
    const logprobs = tokens ? shape.logprobs(tokens) : null;
    const choice = { index, ...shape.delta(piece, !begun.has(index)), logprobs, finish_reason: finishReason };
    begun.add(index);
    yield JSON.stringify({ ...common, choices: [choice], ...(includeUsage ? { usage: null } : {}) });
  }
  if (includeUsage) yield JSON.stringify({ ...common, choices: [], usage: usageObject(usage) });
  yield "[DONE]";
}

function usageObject({ promptTokens, completionTokens }: Usage): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}
