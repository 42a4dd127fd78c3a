import { MARKS, type Sample } from "./sample.js";

/** Where a sample's last answer begins: what is before it is its prompt. */
export function answerBegins({ ids, supervised }: Sample): number {
  const isTarget = (i: number) => supervised[i] === MARKS.target;
  let at = ids.length;
  while (at > 1 && !isTarget(at - 1)) at--; // what a template writes behind the answer
  while (at > 1 && isTarget(at - 1)) at--;
  return at;
}

/** Tokens that are left for an answer of at most `longest` in a context, to the model and to the teacher that reads more. */
export function roomFor(sample: Sample, context: number, longest: number): number {
  const prompts = [sample, sample.taughtBy ?? sample].map(answerBegins);
  return Math.min(longest, context - Math.max(...prompts));
}

/** A sample with another last answer, the only one that is a target, and the same for its teacher. */
export function withAnswer({ taughtBy, ...sample }: Sample, answer: readonly number[]): Sample {
  const at = answerBegins(sample);
  const ids = Int32Array.of(...sample.ids.subarray(0, at), ...answer);
  const supervised = new Uint8Array(ids.length).fill(MARKS.target, at);
  return { ...sample, ids, supervised, ...(taughtBy ? { taughtBy: withAnswer(taughtBy, answer) } : {}) };
}
