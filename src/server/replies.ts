import type { TokenChance, TokenLogprob } from "../recipes/logprobs.js";
import type { Piece, Usage } from "./answer.js";
import type { Asked } from "./schema.js";

/** What an answer, or a piece of it, says; `reasoning`: thought before it. */
type Said = Pick<Piece, "text" | "reasoning">;

/** How an endpoint writes its answers: objects of OpenAI's API reference. */
interface Shape {
  readonly idPrefix: string;
  readonly object: string;
  readonly chunkObject: string;
  /** A choice of a whole answer. */
  choice(said: Said): object;
  /** A choice of a streamed piece; `first`: nothing of this answer was sent before. */
  delta(said: Said, first: boolean): object;
  /** A choice's `logprobs`. */
  logprobs(tokens: readonly TokenLogprob[]): object;
}

export const CHAT: Shape = {
  idPrefix: "chatcmpl-",
  object: "chat.completion",
  chunkObject: "chat.completion.chunk",
  choice: ({ text: content, reasoning }) => ({
    message: { role: "assistant", content, refusal: null, ...thought(reasoning) },
  }),
  delta: ({ text: content, reasoning }, first) => ({
    delta: { ...(first ? { role: "assistant" } : {}), ...thought(reasoning), ...(content ? { content } : {}) },
  }),
  logprobs: (tokens) => ({
    content: tokens.map(({ top, ...token }) => ({ ...chance(token), top_logprobs: top.map(chance) })),
    refusal: null,
  }),
};

const thought = (reasoning: string | undefined) => (reasoning ? { reasoning_content: reasoning } : {});

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
  for await (const { index, text, reasoning = "", tokens: more, finishReason } of pieces) {
    const before = said[index];
    said[index] = { text: (before?.text ?? "") + text, reasoning: (before?.reasoning ?? "") + reasoning };
    reasons[index] = finishReason;
    if (more) tokens[index] = [...(tokens[index] ?? []), ...more];
  }
  const choices = said.map((one, index) => ({
    index,
    ...shape.choice(one),
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
