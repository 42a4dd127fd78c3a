/**
 * A mistake the user can mend: bad input, a refused option, a damaged file. The message names who, what was expected,
 * what came and what to do next; the command line prints it without a stack trace and exits with `exitCode`.
 */
export class UserError extends Error {
  override name = "UserError";
  readonly exitCode: number;
  constructor(message: string, options: { cause?: unknown; exitCode?: number } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? 1;
  }
}

/** Names that people write are shorter; comparing takes time that grows with the length of both. */
const LONGEST_NAME = 200;

/** The entry of `known` that is closest to `word` by edit distance, or undefined when none is near, or `word` is no name. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > LONGEST_NAME) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 2)) + 1;
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= bestDistance) continue;
    const d = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (d < bestDistance) [best, bestDistance] = [candidate, d];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** A value of parsed JSON as a message shows it; Python's `Infinity` and `NaN`, which are kept as objects, as they were written. */
export function shown(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value).replace(/\{"__float__":"(-?\w+)"\}/g, "$1");
}
