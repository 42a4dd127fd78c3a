import { answerBegins } from "./answered.js";
import type { Batches } from "./batches.js";
import type { Sample } from "./sample.js";

export interface CompletionOptions {
  /** Completions of each prompt. */
  readonly numGenerations: number;
  /** Steps in a row that learn from the same completions. */
  readonly numIterations: number;
  /** Tokens of a completion at most. */
  readonly maxCompletionLength: number;
  /** Completions of a step. */
  readonly perStep: number;
  /** Completions in a micro-batch. */
  readonly batchSize: number;
}

/**
 * A stream of steps over prompts whose completions are sampled when a step begins, each several steps in a row. What a step holds are the
 * prompts; of their completions only the longest that there can be are known.
 */
export function withCompletions(prompts: Batches, options: CompletionOptions): Batches {
  const { numGenerations, numIterations: times, maxCompletionLength, perStep, batchSize } = options;
  const longest = prompts.largest.longest + maxCompletionLength;
  let again = 0;
  let held: ReturnType<Batches["next"]> | undefined;
  /** The step of an epoch whose prompts are learned from, where the next has not come yet. */
  let place = prompts.cursor;
  const step = () => ({ epoch: place.epoch, step: place.step * times + again });
  return {
    ...prompts,
    stepsPerEpoch: prompts.stepsPerEpoch * times,
    microBatchesPerEpoch: prompts.stepsPerEpoch * times * Math.ceil(perStep / batchSize),
    tokensPerEpoch:
      times * (numGenerations * prompts.tokensPerEpoch + prompts.stepsPerEpoch * perStep * maxCompletionLength),
    largest: { tokens: Math.min(batchSize, perStep) * longest, longest, sampled: perStep },
    get cursor() {
      return step();
    },
    get epochsDone() {
      return again === 0 ? prompts.epochsDone : place.epoch + step().step / (prompts.stepsPerEpoch * times);
    },
    totalSteps: ({ epochs, maxSteps }) => maxSteps ?? times * prompts.totalSteps({ epochs, maxSteps }),
    next() {
      if (again === 0) held = prompts.next();
      else if (!held) {
        prompts.seek(place);
        held = prompts.next();
      }
      again = (again + 1) % times;
      if (again === 0) place = prompts.cursor;
      return held;
    },
    seek({ epoch, step }) {
      const at = { epoch, step: Math.floor(step / times) };
      prompts.seek(at);
      [place, again, held] = [at, step % times, undefined];
    },
  };
}

/** A stream of steps over rows, some of which learn from answers that are sampled when they begin, as long as there is room for. */
export function withOwnAnswers(
  batches: Batches,
  samples: readonly Sample[],
  { maxCompletionLength, batchSize, perStep }: Pick<CompletionOptions, "maxCompletionLength" | "batchSize" | "perStep">,
): Batches {
  const prompt = samples.reduce((most, sample) => Math.max(most, answerBegins(sample)), 0);
  const longest = Math.max(batches.largest.longest, prompt + maxCompletionLength);
  const tokens = Math.max(batches.largest.tokens, batchSize * longest);
  return {
    ...batches,
    largest: { tokens, longest, sampled: perStep },
    get cursor() {
      return batches.cursor;
    },
    get epochsDone() {
      return batches.epochsDone;
    },
  };
}
