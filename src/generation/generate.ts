import { random, UserError } from "../tensor/index.js";
import { type Decoder, type ResidentAdapter, Sequence } from "./decoder.js";
import { sampleToken } from "./sample.js";
import type { FinishReason, GenerateOptions } from "./types.js";

/** A prompt is fed in pieces of this many tokens: between two of them other texts get their next tokens. */
const PIECE = 512;

/**
 * Decodes token by token: yields each new token id as it is chosen, a stop token too, and returns why it ended. Throws UserError for an empty prompt, a token outside the vocabulary, or a text longer than the context.
 * Texts decoded at the same time, whatever their adapters, get their next tokens in one run.
 */
export async function* decodeTokens(
  decoder: Decoder,
  promptIds: readonly number[],
  options: GenerateOptions,
  adapter?: ResidentAdapter,
): AsyncGenerator<number, FinishReason> {
  checkPrompt(promptIds, decoder.model.config.vocabSize);
  if (options.maxNewTokens <= 0) return "length";
  const { constraint } = options;
  const sequence = new Sequence(decoder, promptIds.length + options.maxNewTokens, adapter);
  try {
    const rng = random(options.seed ?? 0, "sample");
    const text = [...promptIds];
    const made: number[] = [];
    let logits: Float32Array = new Float32Array();
    for (let at = sequence.recall(promptIds); at < promptIds.length; at += PIECE) {
      if (options.signal?.aborted) return "abort";
      logits = await sequence.feed(promptIds.slice(at, at + PIECE));
    }
    for (;;) {
      if (options.signal?.aborted) return "abort";
      const id = sampleToken(logits, options, text, rng, made);
      yield id;
      if (options.stopIds.has(id)) return constraint?.cut ? "length" : "stop";
      if (constraint?.done) return constraint.cut ? "length" : "stop";
      text.push(id);
      if (made.push(id) >= options.maxNewTokens) return "length";
      logits = await sequence.feed([id]);
    }
  } finally {
    sequence.dispose();
  }
}

function checkPrompt(ids: readonly number[], vocabSize: number): void {
  if (!ids.length) throw new UserError("the prompt is empty: it needs at least one token");
  const bad = ids.find((id) => id < 0 || id >= vocabSize);
  if (bad !== undefined)
    throw new UserError(`the prompt holds token ${bad}, which is not in the model's vocabulary of ${vocabSize}`);
}
