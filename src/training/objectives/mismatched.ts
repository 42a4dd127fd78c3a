import { MARKS, type Sample } from "../../data/sample.js";
import { UserError } from "../../tensor/index.js";
import type { SequenceOptions } from "./objective.js";

/**
 * Each sample with, beside it, its prompt and another's answer: that of the one before it among the `perStep` of a step, and of the last one
 * for the first, as TRL pairs them. Throws UserError where a step has no others.
 */
export function mismatched(samples: readonly Sample[], { perStep }: SequenceOptions): Sample[] {
  if (perStep < 2) {
    throw new UserError(
      "batch_size: kto measures a row against the others of its step, so a step needs at least two rows; raise batch_size or gradient_accumulation_steps, or set objective.loss_type to apo_zero_unpaired",
      { code: "invalid_config" },
    );
  }
  return samples.map((sample, i) => {
    const first = i - (i % perStep);
    const last = Math.min(first + perStep, samples.length) - 1;
    return { ...sample, beside: [withAnswerOf(sample, samples[i === first ? last : i - 1]!)] };
  });
}

/** A sample's tokens up to its answer, and another's answer. */
function withAnswerOf(sample: Sample, other: Sample): Sample {
  const [prompt, answer] = [sample.ids.subarray(0, answerStart(sample)), other.ids.subarray(answerStart(other))];
  const ids = new Int32Array(prompt.length + answer.length);
  ids.set(prompt);
  ids.set(answer, prompt.length);
  const supervised = new Uint8Array(ids.length).fill(MARKS.target, Math.max(1, prompt.length));
  return { index: sample.index, ids, supervised, side: "mismatched" };
}

const answerStart = ({ supervised }: Sample): number => supervised.indexOf(MARKS.target);
