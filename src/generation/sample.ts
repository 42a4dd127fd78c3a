import { type Random, UserError } from "../tensor/index.js";
import type { SamplingOptions } from "./types.js";

/**
 * Chooses the next token from logits [V]. Temperature 0 is greedy (the lowest id on a tie). Otherwise, in this order as in
 * transformers: repetition penalty (Keskar et al. 2019), temperature, top-k, top-p (Holtzman et al. 2019), min-p. Frequency and
 * presence penalties (OpenAI's API reference) come after the repetition penalty, biases before all else, as in vLLM. `previous` is prompt and answer,
 * `made` the answer alone. A token that the constraint does not allow is drawn again among those that it does: over both draws,
 * as if the others had never been (without top-k, top-p and min-p exactly so). Throws UserError when no logit is a number.
 */
export function sampleToken(
  logits: Float32Array,
  options: SamplingOptions,
  previous: Iterable<number>,
  rng: Random,
  made: readonly number[] = [],
): number {
  const { logitBias, repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, constraint, observe } = options;
  const raw = observe && logits.slice();
  if (logitBias) for (const [id, bias] of logitBias) logits[id]! += bias;
  if (repetitionPenalty !== 1) penalise(logits, previous, repetitionPenalty);
  if (frequencyPenalty !== 0 || presencePenalty !== 0) {
    for (const id of made) logits[id]! -= frequencyPenalty;
    for (const id of new Set(made)) logits[id]! -= presencePenalty;
  }
  let id = draw(logits, options, rng);
  if (constraint && !constraint.allows(id)) {
    const ids = constraint.allowed();
    id = ids[draw(gathered(logits, ids), options, rng)]!;
  }
  constraint?.push(id);
  observe?.(id, raw!);
  return id;
}

/** The logits of some tokens; so where few are allowed a draw among them costs next to nothing. */
function gathered(logits: Float32Array, ids: Int32Array): Float32Array {
  const some = new Float32Array(ids.length);
  for (let i = 0; i < ids.length; i++) some[i] = logits[ids[i]!]!;
  return some;
}

/**
 * The greedy token, or one drawn by the weight that top-k, top-p and min-p leave, the likeliest first. Tokens are put in order
 * only as far as one of these, or else the draw itself, reaches.
 */
function draw(logits: Float32Array, options: SamplingOptions, rng: Random): number {
  const { temperature = 0, topP = 1, topK = 0, minP = 0 } = options;
  if (temperature === 0) return argmax(logits);
  const weights = weightsOf(logits, temperature);
  const tokenAt = ranking(logits, weights);
  const cumulative: number[] = [];
  /** The weight of the first `count` tokens, of all when there are fewer. */
  const sumOf = (count: number): number => {
    while (cumulative.length < count) {
      const id = tokenAt(cumulative.length);
      if (id === undefined) break;
      cumulative.push((cumulative.at(-1) ?? 0) + weights[id]!);
    }
    return cumulative[Math.min(count, cumulative.length) - 1]!;
  };
  let count = topK > 0 ? topK : logits.length;
  let total = topK > 0 ? sumOf(topK) : totalOf(weights);
  const first = (holds: (at: number) => boolean): number => {
    let at = 0;
    while (at < count && tokenAt(at) !== undefined && !holds(at)) at++;
    return at;
  };
  if (topP < 1) count = Math.min(count, first((at) => sumOf(at + 1) >= topP * total) + 1);
  if (minP > 0) count = first((at) => weights[tokenAt(at)!]! < minP);
  if (topP < 1 || minP > 0) total = sumOf(count);
  const reached = rng.uniform() * total;
  const drawn = first((at) => sumOf(at + 1) > reached);
  return tokenAt(drawn) ?? tokenAt(cumulative.length - 1)!;
}

/** exp(logit / temperature - the largest of these): at most 1; 0 for what is no number. Throws UserError when nothing is. */
function weightsOf(logits: Float32Array, temperature: number): Float64Array {
  const weights = new Float64Array(logits.length);
  let max = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const scaled = logits[id]! / temperature;
    weights[id] = Number.isFinite(scaled) ? scaled : Number.NEGATIVE_INFINITY;
    if (weights[id]! > max) max = weights[id]!;
  }
  if (max === Number.NEGATIVE_INFINITY) {
    throw new UserError("the model's logits hold no finite number: a weight of the base or the adapter is damaged");
  }
  for (let id = 0; id < weights.length; id++) weights[id] = Math.exp(weights[id]! - max);
  return weights;
}

function totalOf(weights: Float64Array): number {
  let total = 0;
  for (const weight of weights) total += weight;
  return total;
}

/** Ids below this fit beside a logit's 32 bits into a double's 53. */
const ID_RANGE = 2 ** 21;

/**
 * Which token comes at a rank (0: the largest logit, equal ones by id), undefined past the last that has a weight. Sorts band
 * by band, each reaching twice as deep in the exponent as the last, and only when it is asked for.
 */
function ranking(logits: Float32Array, weights: Float64Array): (rank: number) => number | undefined {
  const ids: number[] = [];
  const keys = new Float64Array(weights.length);
  const bits = new Uint32Array(1);
  const logit = new Float32Array(bits.buffer);
  let upper = Number.POSITIVE_INFINITY;
  const sortBand = (lower: number) => {
    let n = 0;
    for (let id = 0; id < weights.length; id++) {
      const weight = weights[id]!;
      if (weight < lower || weight >= upper || weight === 0) continue;
      logit[0] = logits[id]! + 0;
      const descending = bits[0]! >>> 31 ? bits[0]! : ~bits[0]! & 0x7fffffff;
      keys[n++] = descending * ID_RANGE + id;
    }
    for (const key of keys.subarray(0, n).sort()) ids.push(key % ID_RANGE);
    upper = lower;
  };
  let depth = 2;
  return (rank) => {
    for (; ids.length <= rank && upper > 0; depth *= 2) sortBand(Math.exp(-depth));
    return ids[rank];
  };
}

/** Index of the largest value; the first one on a tie. */
function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

function penalise(logits: Float32Array, previous: Iterable<number>, penalty: number): void {
  for (const id of new Set(previous)) logits[id] = logits[id]! > 0 ? logits[id]! / penalty : logits[id]! * penalty;
}
