import { lastHidden } from "../generation/generate.js";
import { UserError } from "../tensor/index.js";
import { type EncodedPrompt, encodePrompt, type Prompt } from "./generate.js";
import type { LoadedAdapter, LoadedModel } from "./model.js";

export interface EmbedOptions {
  /** Default: none, the base embeds. */
  readonly adapter?: LoadedAdapter;
  /** Numbers that are kept, from the front. Default: all, as many as the model's hidden size. */
  readonly dimensions?: number;
  /** Aborting it throws its reason. */
  readonly signal?: AbortSignal;
}

export interface Embedding {
  /** [dimensions], of length 1. */
  readonly embedding: Float32Array;
  readonly promptIds: readonly number[];
}

/**
 * A text as numbers: the hidden state of its last token after the model's last norm, which in a decoder has seen the whole text
 * (vLLM's pooling `LAST` of such models), cut to `dimensions` and brought to length 1. The same text always gets the same numbers.
 * Throws UserError for an empty text, one that is longer than the context, and more dimensions than there are.
 */
export async function embed(
  model: LoadedModel,
  input: Exclude<Prompt, { readonly messages: unknown }> | EncodedPrompt,
  { adapter, dimensions, signal }: EmbedOptions = {},
): Promise<Embedding> {
  checkDimensions(model, dimensions);
  const { promptIds } = "promptIds" in input ? input : await encodePrompt(model, input, { adapter, signal });
  const hidden = await lastHidden(model.decoder, promptIds, { signal }, adapter?.resident);
  return { embedding: unit(hidden.subarray(0, dimensions)), promptIds };
}

/** Throws UserError for a number of dimensions that the model's embeddings do not have. */
export function checkDimensions({ resident }: LoadedModel, dimensions: number | undefined): void {
  const most = resident.config.hiddenSize;
  if (dimensions === undefined || (Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= most)) return;
  throw new UserError(
    `dimensions: expected a whole number from 1 to ${most}, the model's hidden size, got ${dimensions}`,
  );
}

/** The vector of length 1 in the same direction. */
function unit(vector: Float32Array): Float32Array {
  let sum = 0;
  for (const value of vector) sum += value * value;
  const norm = Math.sqrt(sum);
  if (!Number.isFinite(norm))
    throw new UserError("the model's hidden state is not finite: a weight of the base or the adapter is damaged");
  return norm === 0 ? vector.slice() : vector.map((value) => value / norm);
}
