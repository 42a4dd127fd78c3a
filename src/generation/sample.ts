import type { Random } from "../tensor/index.js";
import { type Ranked, ranked } from "./ranked.js";
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

/** The greedy token, or one drawn by the weight that top-k, top-p and min-p leave, the likeliest first. */
function draw(logits: Float32Array, options: SamplingOptions, rng: Random): number {
  const { temperature = 0, topP = 1, topK = 0, minP = 0 } = options;
  if (temperature === 0) return argmax(logits);
  const tokens = ranked(logits, temperature);
  let { count, mass }: Pick<Ranked, "count" | "mass"> = tokens;
  const keep = (isLong: (own: number, sum: number) => boolean) => {
    const most = count;
    ({ count, mass } = tokens.until((own, sum) => own >= most || isLong(own, sum)));
  };
  if (topK > 0 && topK < count) keep((own) => own >= topK);
  if (topP < 1) keep((_, sum) => sum >= topP * mass);
  if (minP > 0) {
    const likely = Math.max(1, tokens.countFrom(minP));
    keep((own) => own >= likely);
  }
  const reached = rng.uniform() * mass;
  return tokens.until((own, sum) => own >= count || sum > reached).id;
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
