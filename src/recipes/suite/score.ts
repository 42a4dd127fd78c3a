import type { Share } from "../judge.js";
import type { Figure } from "./figures.js";

const shareOf = ({ count, total }: Share): number => count / total;
const share = (value: Figure["after"]): number => shareOf(value as Share);
/** How much of the base's is kept, at most all of it. */
const kept = (now: number, base: number): number => (base === 0 ? 1 : Math.min(1, now / base));

/** What of a fine-tune counts how much, from 0 to 1; figures that a suite does not have do not count. */
const PARTS: Readonly<Record<string, (figure: Figure) => number>> = {
  facts: ({ after }) => share(after),
  invented: ({ after }) => 1 - share(after),
  behaviour: ({ after }) => share(after),
  general: ({ before, after }) => kept(share(after), share(before)),
  perplexity: ({ before, after }) => kept(before as number, after as number),
};

/** The mean of: facts answered, what is unknown not answered, behaviour, and how much of general answers and perplexity is kept. */
export function scoreOf(figures: readonly Figure[]): number {
  const parts = figures.flatMap((figure) => (Object.hasOwn(PARTS, figure.key) ? [PARTS[figure.key]!(figure)] : []));
  return parts.reduce((sum, part) => sum + part, 0) / parts.length;
}
