import { UserError } from "../tensor/index.js";

/** The tokens from the likeliest to one of them: how many, which is the last, and the sum of their weights. */
export interface Prefix {
  readonly count: number;
  readonly id: number;
  readonly mass: number;
}

/** Tokens by their weights, exp(logit / temperature - the largest of these): the likeliest first, equal ones by id. */
export interface Ranked {
  /** Of all tokens with a weight. */
  readonly count: number;
  readonly mass: number;
  /** The shortest prefix that `isLong` of its length and mass, which has to stay so for longer ones; all tokens where none is. */
  until(isLong: (count: number, mass: number) => boolean): Prefix;
  /** How many tokens have at least this weight; the likeliest has 1. */
  countFrom(weight: number): number;
}

/** Bins of tokens that are about as likely: the first is within 1/16 nat of the likeliest token, and so on. */
const BINS_PER_NAT = 16;
/** Tokens as far as this below the likeliest have no weight: 1.6e-28 of it is less than a sum of doubles can tell. */
const NATS = 64;
const BINS = NATS * BINS_PER_NAT;
const NO_BIN = BINS;
/** The weight at the beginning of each bin. */
const WEIGHTS = Float64Array.from({ length: BINS }, (_, bin) => Math.exp(-bin / BINS_PER_NAT));

/**
 * Ranks the tokens of logits [V] without sorting them: they are put into bins, and only the bin in which a prefix ends is put in order.
 * What is no finite number has no weight. Weights are exact to 1e-14 of their size. Throws UserError when nothing has.
 */
export function ranked(logits: Float32Array, temperature: number): Ranked {
  const largest = largestOf(logits) / temperature;
  const { bins, masses, counts, count, mass } = inBins(logits, temperature, largest);
  const weightAt = (id: number): number => weightOf(largest - logits[id]! / temperature);
  return {
    count,
    mass,
    until(isLong) {
      let [ranks, sum, last] = [0, 0, 0];
      for (let bin = 0; bin < BINS; bin++) {
        const own = counts[bin]!;
        if (own === 0) continue;
        if (!isLong(ranks + own, sum + masses[bin]!) && ranks + own < count) {
          ranks += own;
          sum += masses[bin]!;
          continue;
        }
        for (const id of inOrder(logits, bins, bin, own)) {
          [ranks, sum, last] = [ranks + 1, sum + weightAt(id), id];
          if (isLong(ranks, sum)) return { count: ranks, id, mass: sum };
        }
      }
      return { count: ranks, id: last, mass: sum };
    },
    countFrom(weight) {
      let found = 0;
      for (let id = 0; id < bins.length; id++) if (bins[id] !== NO_BIN && weightAt(id) >= weight) found++;
      return found;
    },
  };
}

/** exp(-below) of a token that is so far below the likeliest, from 0 to less than NATS. */
function weightOf(below: number): number {
  const bin = (below * BINS_PER_NAT) | 0;
  const x = below - bin / BINS_PER_NAT; // less than 1/16: these terms of exp(-x) are all that a double holds
  const rest = 1 / 2 - x * (1 / 6 - x * (1 / 24 - x * (1 / 120 - x * (1 / 720 - x * (1 / 5040)))));
  return WEIGHTS[bin]! * (1 - x * (1 - x * rest));
}

/** The bin of every token, and what each bin holds. `largest`: of the logits over the temperature. */
function inBins(logits: Float32Array, temperature: number, largest: number) {
  const bins = new Uint16Array(logits.length).fill(NO_BIN);
  const masses = new Float64Array(BINS);
  const counts = new Uint32Array(BINS);
  let [count, mass] = [0, 0];
  for (let id = 0; id < logits.length; id++) {
    const below = largest - logits[id]! / temperature; // NaN, negative or infinite where the logit is not finite
    if (!(below >= 0 && below < NATS)) continue;
    const weight = weightOf(below);
    const bin = (below * BINS_PER_NAT) | 0;
    bins[id] = bin;
    masses[bin]! += weight;
    counts[bin]!++;
    mass += weight;
    count++;
  }
  if (count === 0)
    throw new UserError("the model's logits hold no finite number: a weight of the base or the adapter is damaged");
  return { bins, masses, counts, count, mass };
}

function largestOf(logits: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id]!;
    if (logit > largest && logit < Number.POSITIVE_INFINITY) largest = logit;
  }
  return largest;
}

/** Ids below this fit beside a logit's 32 bits into a double's 53. */
const ID_RANGE = 2 ** 21;

/** The ids of a bin, which has `count` of them, the largest logit first. */
function* inOrder(logits: Float32Array, bins: Uint16Array, bin: number, count: number): Generator<number> {
  const keys = new Float64Array(count);
  const bits = new Uint32Array(1);
  const logit = new Float32Array(bits.buffer);
  let n = 0;
  for (let id = 0; n < count; id++) {
    if (bins[id] !== bin) continue;
    logit[0] = logits[id]! + 0; // no negative zero
    const descending = bits[0]! >>> 31 ? bits[0]! : ~bits[0]! & 0x7fffffff;
    keys[n++] = descending * ID_RANGE + id;
  }
  for (const key of keys.sort()) yield key % ID_RANGE;
}
