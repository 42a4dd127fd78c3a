/** Tokens that are followed. */
export const GREEDY_TOKENS = 12;

/** What a model chooses next after every token, given logits [tokens, V]. */
export function choices(logits: Float32Array, vocabulary: number): number[] {
  return Array.from({ length: logits.length / vocabulary }, (_, at) => {
    const row = logits.subarray(at * vocabulary, (at + 1) * vocabulary);
    return row.indexOf(row.reduce((most, x) => Math.max(most, x), Number.NEGATIVE_INFINITY));
  });
}

/**
 * A text's greedy continuation up to, but without, its last token: the one that ends it, or the twelfth. `last` is the text's last token;
 * `chosen` says what comes next after the text and after each token of a guess at its continuation, one more than the guess has. A guess
 * is made of the answers to the one before: what is said is right as far as the guess was, and one token further, so that eleven are
 * always enough (Jacobi decoding: Santilli et al. 2023, arXiv:2305.10427).
 */
export async function greedyContinuation(
  last: number,
  ends: ReadonlySet<number>,
  chosen: (guess: readonly number[]) => Promise<readonly number[]>,
): Promise<number[]> {
  let guess = new Array<number>(GREEDY_TOKENS - 1).fill(last);
  for (;;) {
    const said = await chosen(guess);
    const wrong = guess.findIndex((id, i) => id !== said[i]);
    const sure = wrong < 0 ? said : said.slice(0, wrong + 1);
    const end = sure.findIndex((id) => ends.has(id));
    if (end >= 0) return sure.slice(0, end);
    guess = said.slice(0, guess.length);
    if (sure.length >= guess.length) return guess;
  }
}
