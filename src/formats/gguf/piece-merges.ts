/** UTF-16 units; longer pieces are taken as they are: nothing is merged into them. */
const LONGEST_PIECE = 512;

/**
 * SentencePiece keeps scores, not merges: every split of a piece into two pieces is a merge, ranked by the score of what
 * it makes (transformers, `generate_merges` in convert_slow_tokenizer.py; its sort is kept exactly, ties included).
 */
export function mergesFromScores(tokens: readonly string[], scores: readonly number[]): [string, string][] {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const splitsOf = pieceSplitter(ids);
  const merges: { pair: [string, string]; score: number; left: number; right: number }[] = [];
  tokens.forEach((token, id) => {
    const splits = splitsOf(token);
    splits.sort((a, b) => ids.get(a.pair[0])! - ids.get(b.pair[0])! || ids.get(a.pair[1])! - ids.get(b.pair[1])!);
    for (const split of splits) merges.push({ ...split, score: scores[id]! });
  });
  merges.sort((a, b) => b.score - a.score || b.left - a.left || b.right - a.right);
  return merges.map(({ pair }) => pair);
}

interface Split {
  readonly pair: [string, string];
  /** Code points of either. */
  readonly left: number;
  readonly right: number;
}

/** An odd factor of the rolling hash, which is taken modulo 2^32. */
const FACTOR = 0x01000193;
/** Hashes are told apart by so many of their upper bits: one of a hundred strange ones looks known. */
const SLOT_BITS = 22;

/**
 * Finds every split of a piece into two pieces in time linear in its length: rolling hashes (Karp and Rabin 1987) of its
 * beginnings and ends are looked up, and only where both look known are they compared letter by letter.
 */
function pieceSplitter(ids: ReadonlyMap<string, number>): (piece: string) => Split[] {
  const known = new Uint8Array(2 ** SLOT_BITS);
  const slot = (hash: number) => hash >>> (32 - SLOT_BITS);
  const begins = new Int32Array(LONGEST_PIECE + 1);
  const powers = new Int32Array(LONGEST_PIECE + 1).fill(1);
  for (let i = 1; i < powers.length; i++) powers[i] = Math.imul(powers[i - 1]!, FACTOR);
  const hash = (text: string): number => {
    let h = 0;
    for (let i = 0; i < text.length; i++)
      begins[i + 1] = h = (Math.imul(h, FACTOR) + text.charCodeAt(i) * 0x9e37 + 1) | 0;
    return h;
  };
  for (const piece of ids.keys()) if (piece.length <= LONGEST_PIECE) known[slot(hash(piece))] = 1;
  return (piece) => {
    const n = piece.length;
    if (n > LONGEST_PIECE) return [];
    const whole = hash(piece);
    const splits: Split[] = [];
    for (let at = 1; at < n; at++) {
      if (!known[slot(begins[at]!)] || !known[slot(whole - Math.imul(begins[at]!, powers[n - at]!))]) continue;
      if (isTrail(piece.charCodeAt(at))) continue;
      const pair: [string, string] = [piece.slice(0, at), piece.slice(at)];
      if (!ids.has(pair[0]) || !ids.has(pair[1])) continue;
      splits.push({ pair, left: pointsIn(pair[0]), right: pointsIn(pair[1]) });
    }
    return splits;
  };
}

/** The second half of a surrogate pair. */
const isTrail = (unit: number): boolean => unit >= 0xdc00 && unit < 0xe000;

function pointsIn(text: string): number {
  let count = 0;
  for (let i = 0; i < text.length; i++) if (!isTrail(text.charCodeAt(i))) count++;
  return count;
}
