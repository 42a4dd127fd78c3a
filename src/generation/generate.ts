import { random, UserError } from "../tensor/index.js";
import { type Decoder, type ResidentAdapter, Sequence } from "./decoder.js";
import { sampleToken } from "./sample.js";
import type { FinishReason, GenerateOptions } from "./types.js";

/** A prompt is fed in pieces of this many tokens: between two of them other texts get their next tokens, and other prompts a piece. */
const PIECE = 512;

/** The same where logits of every token are asked for: so many rows of [V] are held at once. */
const SCORED_PIECE = 32;

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
  if (options.maxNewTokens <= 0 && !options.observePrompt) return "length";
  const { constraint } = options;
  const sequence = new Sequence(decoder, promptIds.length + options.maxNewTokens, adapter);
  try {
    const rng = random(options.seed ?? 0, "sample");
    const text = [...promptIds];
    const made: number[] = [];
    let logits = await feedPrompt(decoder, sequence, promptIds, options);
    if (options.maxNewTokens <= 0) return options.signal?.aborted ? "abort" : "length";
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

/** The logits [V] after the prompt; what the signal ended is left where it is. */
async function feedPrompt(
  { prompts }: Decoder,
  sequence: Sequence,
  ids: readonly number[],
  { signal, observePrompt }: GenerateOptions,
): Promise<Float32Array> {
  let logits: Float32Array = new Float32Array();
  if (!observePrompt) {
    for (let at = sequence.recall(ids); at < ids.length && !signal?.aborted; at += PIECE) {
      const piece = ids.slice(at, at + PIECE);
      logits = await prompts(async () => (signal?.aborted ? logits : sequence.feed(piece)));
    }
    return logits;
  }
  for (let at = 0; at < ids.length && !signal?.aborted; at += SCORED_PIECE) {
    const piece = ids.slice(at, at + SCORED_PIECE);
    const all = await prompts(() => sequence.score(piece, ids.length));
    const size = sequence.vocabSize;
    for (let i = 0; i < piece.length; i++) {
      logits = all.subarray(i * size, (i + 1) * size);
      const next = ids[at + i + 1];
      if (next !== undefined) observePrompt(next, logits);
    }
  }
  return logits;
}

/**
 * The hidden state [D] of a text's last token after the model's last norm. Nothing is taken over from other texts or kept for them, so
 * that it is the same to the bit every time. Throws UserError as `decodeTokens`, and the signal's reason once it is aborted.
 */
export async function lastHidden(
  decoder: Decoder,
  ids: readonly number[],
  { signal }: Pick<GenerateOptions, "signal">,
  adapter?: ResidentAdapter,
): Promise<Float32Array> {
  checkPrompt(ids, decoder.model.config.vocabSize);
  const sequence = new Sequence(decoder, ids.length, adapter);
  try {
    for (let at = 0; ; at += PIECE) {
      signal?.throwIfAborted();
      const last = at + PIECE >= ids.length;
      const state = await decoder.prompts(() => sequence.feed(ids.slice(at, at + PIECE), { hidden: last }));
      if (last) return state;
    }
  } finally {
    sequence.rewind(0);
    sequence.dispose();
  }
}

function checkPrompt(ids: readonly number[], vocabSize: number): void {
  if (!ids.length) throw new UserError("the prompt is empty: it needs at least one token");
  const bad = ids.find((id) => id < 0 || id >= vocabSize);
  if (bad !== undefined)
    throw new UserError(`the prompt holds token ${bad}, which is not in the model's vocabulary of ${vocabSize}`);
}
