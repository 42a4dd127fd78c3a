import { UserError } from "../tensor/index.js";
import { random, shuffled } from "../tensor/random.js";
import type { Sample } from "./sample.js";

/** The samples of one file, and how often they are drawn. */
export interface Part {
  readonly name: string;
  readonly samples: readonly Sample[];
  /** Undefined, as in all the others: every sample once an epoch. */
  readonly weight?: number | undefined;
}

/** How many samples of each part an epoch takes. */
export interface Mixture {
  readonly counts: readonly number[];
  /** The samples of an epoch, part after part. */
  draw(epoch: number): Sample[];
}

/**
 * Parts drawn by their weights. An epoch has as many samples as all parts together, and each part gives its share of them
 * (weight / sum of weights). A part is dealt like a deck of cards: none of its samples comes again before every other one has
 * come, over the epochs too, and then it is shuffled anew. All of it depends on seed and epoch alone.
 * Undefined where no part has a weight. Throws UserError when some have one and some not, and for a share of less than a sample.
 */
export function openMixture(
  parts: readonly Part[],
  { seed = 0, shuffle = true }: { readonly seed?: number; readonly shuffle?: boolean } = {},
): Mixture | undefined {
  const weights = parts.flatMap(({ weight }) => weight ?? []);
  if (weights.length === 0) return undefined;
  if (weights.length < parts.length)
    throw new UserError(`data.train: ${someWeighed(parts)}`, { code: "invalid_config" });
  const counts = sharesOf(
    parts.reduce((sum, { samples }) => sum + samples.length, 0),
    weights,
  );
  const none = counts.indexOf(0);
  if (none >= 0) {
    throw new UserError(
      `data.train: the weight of ${parts[none]!.name} gives it less than one sample of an epoch; raise it, or leave the file out`,
      { code: "invalid_config" },
    );
  }
  const deck = (part: number, turn: number) => {
    const { samples } = parts[part]!;
    return shuffle ? shuffled(samples, random(seed, "mixture", part, turn)) : samples;
  };
  const dealt = (part: number, from: number, to: number): Sample[] => {
    const size = parts[part]!.samples.length;
    const turns = Array.from({ length: Math.ceil(to / size) - Math.floor(from / size) }, (_, i) => i);
    const first = Math.floor(from / size);
    return turns.flatMap((i) => deck(part, first + i)).slice(from - first * size, to - first * size);
  };
  return { counts, draw: (epoch) => counts.flatMap((n, part) => dealt(part, epoch * n, (epoch + 1) * n)) };
}

/** What is wrong where some files have a weight and some have none. */
export function someWeighed(files: readonly { readonly weight?: number | undefined }[]): string | undefined {
  const weighed = files.filter(({ weight }) => weight !== undefined).length;
  if (weighed === 0 || weighed === files.length) return undefined;
  return `${weighed} of ${files.length} files have a weight; give each of them one, or none`;
}

/** `total` divided by weights into whole numbers: each rounded down, and the rest to the largest remainders. */
function sharesOf(total: number, weights: readonly number[]): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  const exact = weights.map((weight) => (total * weight) / sum);
  const counts = exact.map(Math.floor);
  const rest = total - counts.reduce((a, b) => a + b, 0);
  const byRemainder = exact.map((share, i) => [share - counts[i]!, i] as const).sort((a, b) => b[0] - a[0]);
  for (const [, i] of byRemainder.slice(0, rest)) counts[i]!++;
  return counts;
}
