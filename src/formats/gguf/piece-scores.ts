/**
 * SentencePiece scores for a list of merges, the best first: what is made by merges that lie between those of something else
 * has its score, as the runs of spaces have in the vocabularies of Llama 2 and Mistral, and those of spaces, tabs and lines' ends
 * in Gemma's. Undefined where no scores say the same: tokens of one score are merged from the left by SentencePiece, and by rank
 * in tokenizer.json, which is the same only where all are runs of one character each that grow alike.
 */
export function scoresOfMerges(
  tokens: readonly string[],
  merges: readonly (readonly [string, string])[],
): number[] | undefined {
  const groups = groupsOf(merges);
  const places = new Map(groups.flatMap(({ made }, i) => [...made].map((token) => [token, i] as const)));
  if (!groups.every((group) => group.made.size === 1 || runsAlike(group, merges, places))) return undefined;
  return tokens.map((token) => 0 - (places.get(token) ?? groups.length));
}

/** What a part of the list makes, and the rank of its last merge. */
interface Group {
  readonly made: Set<string>;
  last: number;
}

/** The list in parts, as short as can be, such that no token is made in two of them. */
function groupsOf(merges: readonly (readonly [string, string])[]): Group[] {
  const last = new Map(merges.map(([left, right], rank) => [left + right, rank]));
  const groups: Group[] = [];
  for (const [rank, [left, right]] of merges.entries()) {
    const made = left + right;
    const open = groups.at(-1);
    if (open && rank <= open.last) {
      open.made.add(made);
      open.last = Math.max(open.last, last.get(made)!);
    } else groups.push({ made: new Set([made]), last: last.get(made)! });
  }
  return groups;
}

/**
 * Whether what a group makes are runs of one character each, any run of which comes out the same, merged by rank or by score from
 * the left, and that nothing else is made of such runs, so that it does not matter what they are in between.
 */
function runsAlike(
  { made }: Group,
  merges: readonly (readonly [string, string])[],
  places: ReadonlyMap<string, number>,
): boolean {
  const byLetter = new Map<string, Set<string>>();
  for (const token of made) {
    const letter = String.fromCodePoint(token.codePointAt(0)!);
    byLetter.set(letter, (byLetter.get(letter) ?? new Set()).add(token));
  }
  return [...byLetter].every(([letter, runs]) => runsOfAlike(letter, runs, merges, places));
}

function runsOfAlike(
  letter: string,
  made: ReadonlySet<string>,
  merges: readonly (readonly [string, string])[],
  places: ReadonlyMap<string, number>,
): boolean {
  const runLength = (text: string): number => {
    const letters = Array.from(text);
    return letters.every((c) => c === letter) ? letters.length : 0;
  };
  const ranks = new Map<string, readonly [rank: number, place: number]>();
  let longest = 0;
  for (const [rank, [left, right]] of merges.entries()) {
    const [a, b] = [runLength(left), runLength(right)];
    if (a > 0 && b > 0) {
      ranks.set(`${a},${b}`, [rank, places.get(left + right)!]);
      longest = Math.max(longest, a + b);
    } else if (a > 1 || b > 1 || made.has(left + right)) return false;
  }
  for (let n = 2; n <= 4 * longest; n++) {
    const byRank = merged(n, (a, b) => ranks.get(`${a},${b}`)?.[0]);
    const fromLeft = merged(n, (a, b) => ranks.get(`${a},${b}`)?.[1]);
    if (byRank !== fromLeft) return false;
  }
  return true;
}

/** The lengths that a run of n single characters is merged to: the pair of the least rank first, the left one of equals. */
function merged(n: number, rankOf: (a: number, b: number) => number | undefined): string {
  const parts = new Array<number>(n).fill(1);
  for (;;) {
    let [best, at] = [Number.POSITIVE_INFINITY, -1];
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = rankOf(parts[i]!, parts[i + 1]!) ?? Number.POSITIVE_INFINITY;
      if (rank < best) [best, at] = [rank, i];
    }
    if (at < 0) return parts.join();
    parts.splice(at, 2, parts[at]! + parts[at + 1]!);
  }
}
