import type { MicroBatch, Sample } from "../data/sample.js";
import { UserError } from "../tensor/index.js";
import { ALONE, type SharedPrefix } from "./shared-prefix.js";

/** Where a sample lies among the tokens of a micro-batch, or several that share their beginning: that, and behind it what is left of each. */
export interface Segment {
  readonly start: number;
  readonly length: number;
  /** Rows of the shared beginning, and of what is left of each sample. Default: the segment is one sample. */
  readonly shared?: { readonly prefix: number; readonly parts: readonly number[] };
  /** Rows that its attention is computed for: its own, and some behind it whose results are dropped. */
  readonly span: number;
}

/** A micro-batch as the programs see it: ids end to end, filled up so that few programs serve all sizes. */
export interface BatchLayout {
  /** Real tokens, and tokens with filling. */
  readonly tokens: number;
  readonly padded: number;
  readonly ids: BigInt64Array;
  readonly segments: readonly Segment[];
  /**
   * Samples whose attention runs at once, group by group. Those with a longer span come first, in their order, each alone: what
   * they make of rows behind their own is made again.
   */
  readonly groups: readonly (readonly Segment[])[];
  /** Rows up to the end of the last span. */
  readonly extent: number;
  /** Positions whose next token is a target, and those targets. */
  readonly rows: readonly number[];
  readonly labels: readonly number[];
}

/** The sizes that programs are run in. */
export interface Rounding {
  /** A number of tokens, rounded up. */
  readonly tokens: (n: number) => number;
  /** The attention of samples up to this length runs over their own rows; that of longer ones over a multiple of 16. */
  readonly exact: number;
  /** How many of those run at once. */
  readonly together: number;
}

/** n rounded up to a multiple of `step`. */
export const multiple = (step: number) => (n: number) => Math.ceil(n / step) * step;

/** n rounded up to a multiple of 8 and of a thirty-second of it: at most a few percent of filling. */
export const bucket = (n: number): number => multiple(Math.max(8, 2 ** (Math.floor(Math.log2(Math.max(1, n))) - 5)))(n);

/**
 * Lays the samples end to end, those that share their beginning as `shared` says. Throws UserError for an id outside the vocabulary,
 * naming the row.
 */
export function layOut(
  batch: MicroBatch,
  vocabSize: number,
  rounding: Rounding,
  shared: SharedPrefix = () => ALONE,
): BatchLayout {
  const together = sharing(batch, shared);
  const tokens = together.reduce((n, { length }) => n + length, 0);
  const padded = rounding.tokens(tokens);
  const ids = new BigInt64Array(padded);
  const segments: Segment[] = [];
  const rows: number[] = [];
  const labels: number[] = [];
  /** `rowOf`: where the sample's token i lies. */
  const place = (sample: Sample, rowOf: (i: number) => number) => {
    for (let i = 0; i < sample.ids.length; i++) {
      const id = sample.ids[i]!;
      if (id < 0 || id >= vocabSize)
        throw new UserError(`row ${sample.index}: token id ${id} is not in the model's vocabulary of ${vocabSize}`);
      ids[rowOf(i)] = BigInt(id);
      if (i > 0 && sample.supervised[i]) {
        rows.push(rowOf(i - 1));
        labels.push(id);
      }
    }
  };
  for (const { samples, start, length, prefix } of together) {
    let end = start + prefix;
    const parts = samples.map(({ ids: own }) => own.length - prefix);
    for (const [k, sample] of samples.entries()) {
      const from = end - prefix;
      place(sample, (i) => (i < prefix ? start + i : from + i));
      end += parts[k]!;
    }
    const span = length > rounding.exact ? multiple(16)(length) : length;
    segments.push({ start, length, span, ...(samples.length > 1 ? { shared: { prefix, parts } } : {}) });
  }
  const extent = Math.max(padded, ...segments.map((s) => s.start + s.span));
  return { tokens, padded, ids, segments, groups: inGroups(segments, rounding), extent, rows, labels };
}

/** The samples that lie together, and their rows. */
function sharing(batch: MicroBatch, shared: SharedPrefix) {
  const found: { samples: MicroBatch; start: number; length: number; prefix: number }[] = [];
  let start = 0;
  for (let at = 0; at < batch.length; ) {
    const { prefix, count } = shared(batch, at);
    const samples = batch.slice(at, at + count);
    const length = prefix + samples.reduce((n, { ids }) => n + ids.length - prefix, 0);
    found.push({ samples, start, length, prefix });
    start += length;
    at += count;
  }
  return found;
}

/** The rows of a segment whose positions go on, run by run; `from` is the position of the first. */
export function positionsOf({ start, length, shared }: Segment): { row: number; from: number; count: number }[] {
  if (!shared) return [{ row: start, from: 0, count: length }];
  const { prefix, parts } = shared;
  let row = start + prefix;
  const runs = parts.map((count) => ({ row: (row += count) - count, from: prefix, count }));
  return [{ row: start, from: 0, count: prefix }, ...runs].filter(({ count }) => count > 0);
}

/** Tokens of a segment's text, or of the longest of its texts. */
export function textLength({ length, shared }: Segment): number {
  return shared ? shared.prefix + Math.max(...shared.parts) : length;
}

function inGroups(segments: readonly Segment[], { exact, together }: Rounding): Segment[][] {
  const groups = segments.filter((s) => s.length > exact).map((s) => [s]);
  const others = segments.filter((s) => s.length <= exact);
  for (let i = 0; i < others.length; i += together) groups.push(others.slice(i, i + together));
  return groups;
}

/** Rows of the vocabulary product computed at once: bounds the logits' memory. */
export const CHUNK = 256;

/** The same where there are two models' logits. */
export const TAUGHT_CHUNK = CHUNK / 2;

/** Supervised rows in equal chunks; the last is filled with rows of weight 0. */
export interface HeadChunks {
  readonly size: number;
  readonly count: number;
  readonly rows: BigInt64Array;
  readonly labels: BigInt64Array;
  readonly weights: Float32Array;
}

/** Splits the supervised rows of a batch; `weight` is each row's share in the loss, or all of them, `limit` the most rows a chunk. */
export function headChunks(
  { rows, labels }: BatchLayout,
  weight: number | ArrayLike<number>,
  limit = CHUNK,
): HeadChunks {
  const count = Math.max(1, Math.ceil(rows.length / limit));
  const size = Math.min(limit, Math.ceil(Math.ceil(rows.length / count) / 16) * 16 || 16);
  const total = count * size;
  const chunks = {
    size,
    count,
    rows: new BigInt64Array(total),
    labels: new BigInt64Array(total),
    weights: new Float32Array(total),
  };
  rows.forEach((row, i) => {
    chunks.rows[i] = BigInt(row);
    chunks.labels[i] = BigInt(labels[i]!);
    chunks.weights[i] = typeof weight === "number" ? weight : weight[i]!;
  });
  return chunks;
}
