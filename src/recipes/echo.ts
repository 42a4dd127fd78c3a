import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { EncodedPrompt } from "./generate.js";
import { type TokenLogprob, tokenChances } from "./logprobs.js";

/** A prompt's text, and the characters of it before each of its tokens. */
interface PromptText {
  readonly text: string;
  readonly offsets: readonly number[];
}

/** The text of a prompt: as it was given, or what its tokens stand for, special ones written out. */
export function promptText(tokenizer: Tokenizer, { promptIds, given }: EncodedPrompt): PromptText {
  if (given) {
    let reached = 0;
    return { text: given.text, offsets: given.starts.map((start) => (reached = Math.max(reached, start))) };
  }
  const stream = tokenizer.decoder({ skipSpecialTokens: false });
  let text = "";
  const offsets = promptIds.map((id) => {
    const before = text.length;
    text += stream.push(id);
    return before;
  });
  return { text: text + stream.end(), offsets };
}

/** Watches a prompt being read, for the log probabilities of its tokens. */
export interface PromptLog {
  /** As `GenerateOptions.observePrompt`. */
  observe(id: number, logits: Float32Array): void;
  /** All tokens; the first has NaN for its log probability and no likelier ones, as nothing stands before it. */
  tokens(): TokenLogprob[];
}

/** A log of a prompt of one text, each token with the `count` likeliest of its place. */
export function createPromptLog(
  tokenizer: Tokenizer,
  first: number,
  { offsets }: PromptText,
  count: number,
): PromptLog {
  const bytes = tokenizer.bytes(first);
  const start = { id: first, token: new TextDecoder().decode(bytes), bytes, logprob: Number.NaN, top: [] };
  const chances = [start as Omit<TokenLogprob, "offset">];
  return {
    observe: (id, logits) => void chances.push(tokenChances(tokenizer, logits, id, count)),
    tokens: () => chances.map((chance, i) => ({ ...chance, offset: offsets[i]! })),
  };
}
