import type { Random } from "../tensor/index.js";
import type { SamplingOptions } from "./types.js";

/**
 * Chooses the next token from logits [V]. Temperature 0 is greedy (the lowest id on a tie). Otherwise, in this order as in
 * transformers: repetition penalty (Keskar et al. 2019), temperature, top-k, top-p (Holtzman et al. 2019), min-p. Frequency and
 * presence penalties (OpenAI's API reference) come after the repetition penalty, as in vLLM. `previous` is prompt and answer,
 * `made` the answer alone. A token that the constraint does not allow is drawn again among those that it does: over both draws,
 * as if the others had never been (without top-k, top-p and min-p exactly so).
 */
export function sampleToken(
  logits: Float32Array,
  options: SamplingOptions,
  previous: Iterable<number>,
  rng: Random,
  made: readonly number[] = [],
): number {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, constraint, observe } = options;
  const raw = observe && logits.slice();
  if (repetitionPenalty !== 1) penalise(logits, previous, repetitionPenalty);
  if (frequencyPenalty !== 0 || presencePenalty !== 0) {
    for (const id of made) logits[id]! -= frequencyPenalty;
    for (const id of new Set(made)) logits[id]! -= presencePenalty;
  }
  let id = draw(logits, options, rng);
  if (constraint && !constraint.allows(id)) {
    constraint.mask(logits);
    id = draw(logits, options, rng);
  }
  constraint?.push(id);
  observe?.(id, raw!);
  return id;
}

function draw(logits: Float32Array, options: SamplingOptions, rng: Random): number {
  const { temperature = 0, topP = 1, topK = 0, minP = 0 } = options;
  if (temperature === 0) return argmax(logits);
  let candidates = Array.from(logits, (logit, id) => ({ id, p: logit / temperature })).filter((c) =>
    Number.isFinite(c.p),
  );
  candidates.sort((a, b) => b.p - a.p || a.id - b.id);
  if (topK > 0) candidates = candidates.slice(0, topK);
  const max = candidates[0]!.p;
  let total = 0;
  for (const c of candidates) total += c.p = Math.exp(c.p - max);
  if (topP < 1) {
    let sum = 0;
    candidates = candidates.slice(
      0,
      candidates.findIndex((c) => (sum += c.p) >= topP * total) + 1 || candidates.length,
    );
  }
  if (minP > 0) candidates = candidates.filter((c) => c.p >= minP * candidates[0]!.p);
  let at = rng.uniform() * candidates.reduce((sum, c) => sum + c.p, 0);
  return (candidates.find((c) => (at -= c.p) < 0) ?? candidates.at(-1)!).id;
}

/** Index of the largest value; the first one on a tie. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

function penalise(logits: Float32Array, previous: Iterable<number>, penalty: number): void {
  for (const id of new Set(previous)) logits[id] = logits[id]! > 0 ? logits[id]! / penalty : logits[id]! * penalty;
}
