import { likeliest } from "../tensor/index.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";

/** A token and the natural logarithm of the model's probability for it, before temperature and penalties. */
export interface TokenChance {
  readonly id: number;
  /** Its text; bytes that are no UTF-8 by themselves as U+FFFD. */
  readonly token: string;
  readonly bytes: Uint8Array;
  readonly logprob: number;
}

/** A token of the text, with the likeliest ones of its place, likeliest first. */
export interface TokenLogprob extends TokenChance {
  readonly top: readonly TokenChance[];
  /** Characters of the text before it. */
  readonly offset: number;
}

/** The chosen token's log probability and those of the `count` likeliest, from logits [V]. */
export function tokenChances(
  tokenizer: Tokenizer,
  logits: Float32Array,
  id: number,
  count: number,
): Omit<TokenLogprob, "offset"> {
  let most = Number.NEGATIVE_INFINITY;
  for (const logit of logits) most = Math.max(most, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  const norm = most + Math.log(sum);
  const chance = (token: number): TokenChance => {
    const bytes = tokenizer.bytes(token);
    return { id: token, token: new TextDecoder().decode(bytes), bytes, logprob: logits[token]! - norm };
  };
  return { ...chance(id), top: likeliest(logits, count).map(chance) };
}

/** Gives tokens out when their text is: what a stop string holds back or cuts off is held back or dropped here too. */
export interface TokenLog {
  add(token: TokenLogprob): void;
  /** So many characters of the text are out. */
  released(characters: number): void;
  readonly tokens: readonly TokenLogprob[];
}

export function createTokenLog(onToken: ((token: TokenLogprob) => void) | undefined): TokenLog {
  const tokens: TokenLogprob[] = [];
  const held: TokenLogprob[] = [];
  return {
    tokens,
    add: (token) => void held.push(token),
    released(characters) {
      while (held.length > 0 && held[0]!.offset < characters) {
        const token = held.shift()!;
        tokens.push(token);
        onToken?.(token);
      }
    },
  };
}
