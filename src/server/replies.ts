import type { TokenChance, TokenLogprob } from "../recipes/logprobs.js";
import type { IdentifiedCall, Piece, Usage } from "./answer.js";
import type { Asked } from "./schema.js";

/** What an answer, or a piece of it, says; `reasoning`: thought before it. */
type Said = Pick<Piece, "text" | "reasoning">;

/** How an endpoint writes its answers: objects of OpenAI's API reference. */
interface Shape {
  readonly idPrefix: string;
  readonly object: string;
  readonly chunkObject: string;
  /** A choice of a whole answer. */
  choice(said: Said, calls: readonly WholeCall[]): object;
  /** A choice of a streamed piece; `first`: nothing of this answer was sent before. */
  delta(said: Said & Pick<Piece, "calls">, first: boolean): object;
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
  choice: ({ text, reasoning }, calls) => ({
    message: { role: "assistant", refusal: null, ...saidAndCalled(text, calls), ...thought(reasoning) },
  }),
  delta: ({ text, reasoning, calls }, first) => ({
    delta: {
      ...(first ? { role: "assistant" } : {}),
      ...thought(reasoning),
      ...(text ? { content: text } : {}),
      ...(calls.length > 0 ? { tool_calls: calls.map(callDelta) } : {}),
    },
  }),
  logprobs: (tokens) => ({
    content: tokens.map(({ top, ...token }) => ({ ...chance(token), top_logprobs: top.map(chance) })),
    refusal: null,
  }),
};

const thought = (reasoning: string | undefined) => (reasoning ? { reasoning_content: reasoning } : {});

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

export function chance({ token, bytes, logprob }: TokenChance): object {
  return { token, logprob, bytes: [...bytes] };
}

export const TEXT: Shape = {
  idPrefix: "cmpl-",
  object: "text_completion",
  chunkObject: "text_completion",
  choice: ({ text }) => ({ text }),
  delta: ({ text }) => ({ text }),
  logprobs: (tokens) => ({
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map(({ logprob, top }) =>
      Number.isNaN(logprob) ? null : Object.fromEntries(top.map(({ token, logprob }) => [token, logprob])),
    ),
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
  const said: Said[] = [];
  const reasons: Piece["finishReason"][] = [];
  const tokens: (TokenLogprob[] | undefined)[] = [];
  const calls: IdentifiedCall[][] = [];
  for await (const { index, text, reasoning = "", calls: called, tokens: more, finishReason } of pieces) {
    const before = said[index];
    said[index] = { text: (before?.text ?? "") + text, reasoning: (before?.reasoning ?? "") + reasoning };
    calls[index] ??= [];
    calls[index].push(...called);
    reasons[index] = finishReason;
    if (more) tokens[index] = [...(tokens[index] ?? []), ...more];
  }
  const choices = said.map((one, index) => ({
    index,
    ...shape.choice(one, wholeCalls(calls[index]!)),
    logprobs: tokens[index] ? shape.logprobs(tokens[index]) : null,
    finish_reason: reasons[index],
  }));
  return { ...head, object: shape.object, choices, usage: usageObject(usage) };
}

/** The reply as server-sent events. */
export async function* eventsOf(
  shape: Shape,
  head: Head,
  { includeUsage }: Pick<Asked, "includeUsage">,
  pieces: AsyncIterable<Piece>,
  usage: Usage,
): AsyncGenerator<string, void> {
  const common = { ...head, object: shape.chunkObject };
  const begun = new Set<number>();
  for await (const { index, finishReason, tokens, ...said } of pieces) {
    const logprobs = tokens ? shape.logprobs(tokens) : null;
    const choice = { index, ...shape.delta(said, !begun.has(index)), logprobs, finish_reason: finishReason };
    begun.add(index);
    yield data({ ...common, choices: [choice], ...(includeUsage ? { usage: null } : {}) });
  }
  if (includeUsage) yield data({ ...common, choices: [], usage: usageObject(usage) });
  yield "data: [DONE]";
}

/** An event without a name. */
export const data = (value: object): string => `data: ${JSON.stringify(value)}`;

function usageObject({ promptTokens, completionTokens, reasoningTokens }: Usage): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    ...(reasoningTokens ? { completion_tokens_details: { reasoning_tokens: reasoningTokens } } : {}),
  };
}
