import type { Batches } from "../data/batches.js";
import type { DroppedRow } from "../data/dataset.js";
import { MARKS, type Sample, type Side, together } from "../data/sample.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { Rows } from "./training-rows.js";

/** One token as it will be seen: its text, and whether the loss is taken on it. */
export interface PreviewToken {
  readonly id: number;
  /** May be empty where a character takes several tokens: the last of them carries it. */
  readonly text: string;
  readonly supervised: boolean;
}

export interface PreviewRow {
  readonly index: number;
  /** What the sequence is to its row, where the row has several or says what it is. */
  readonly side?: Side;
  readonly tokens: readonly PreviewToken[];
  /** What a prompt's row says beside it. Undefined: the row is no prompt. */
  readonly columns?: Readonly<Record<string, unknown>>;
}

export interface PreviewSummary {
  /** What was read, cut and left out, a line each. */
  readonly lines: readonly string[];
  /** Tokens a sample. */
  readonly lengths: { readonly min: number; readonly median: number; readonly max: number };
  readonly microBatchesPerEpoch: number;
  readonly stepsPerEpoch: number;
  /** Share of the packed rows that holds tokens; undefined without packing. */
  readonly packingEfficiency?: number;
  readonly dropped: readonly DroppedRow[];
}

/** A sample with the text of each token, special tokens included. */
export function previewRow({ index, ids, supervised, side, prompt }: Sample, tokenizer: Tokenizer): PreviewRow {
  const stream = tokenizer.decoder({ skipSpecialTokens: false });
  const texts = Array.from(ids, (id) => stream.push(id));
  texts[texts.length - 1] += stream.end();
  const tokens = texts.map((text, i) => ({ id: ids[i]!, text, supervised: supervised[i] === MARKS.target }));
  return { index, ...(side ? { side } : {}), tokens, ...(prompt ? { columns: prompt.columns } : {}) };
}

/**
 * The sequence as a program reads it, without a newline: `{"index", "side", "ids", "supervised"}`, 1 where a token is a target, 2 where
 * its probability counts without being the answer's. Of a prompt also `"columns"`: what its row says beside it.
 */
export function previewJson({ index, ids, supervised, side, prompt }: Sample): string {
  const more = prompt ? { columns: prompt.columns } : {};
  return JSON.stringify({ index, ...(side ? { side } : {}), ids: [...ids], supervised: [...supervised], ...more });
}

/** The first `count` samples of several files, taken from each in turn. */
export function firstOfEach(parts: Rows["parts"], count: number): Sample[] {
  const most = Math.max(...parts.map(({ samples }) => samples.length));
  const turns = Array.from({ length: Math.min(count, most) }, (_, i) =>
    parts.flatMap(({ samples }) => samples[i] ?? []),
  );
  return turns.flat().slice(0, count);
}

/** What training on the rows in these batches will look like. */
export function previewSummary(
  { train, messages, dropped }: Pick<Rows, "train" | "messages" | "dropped">,
  batches: Batches,
  { packing }: { readonly packing: boolean },
): PreviewSummary {
  const lengths = together(train)
    .map(({ ids }) => ids.length)
    .sort((a, b) => a - b);
  const middle = lengths.length >> 1;
  const median = lengths.length % 2 === 1 ? lengths[middle]! : (lengths[middle - 1]! + lengths[middle]!) / 2;
  return {
    lines: messages,
    lengths: { min: lengths[0]!, median, max: lengths.at(-1)! },
    microBatchesPerEpoch: batches.microBatchesPerEpoch,
    stepsPerEpoch: batches.stepsPerEpoch,
    ...(packing ? { packingEfficiency: batches.packingEfficiency } : {}),
    dropped,
  };
}
