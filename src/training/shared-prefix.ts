import type { MicroBatch } from "../data/sample.js";
import { layerKind, lengthClass, type ModelConfig } from "../models/index.js";

/** Samples that are laid out with their beginning computed once for all of them. */
export interface Shared {
  /** Leading tokens that they have in common; 0: there is only one sample. */
  readonly prefix: number;
  readonly count: number;
}

/** How many samples of a micro-batch, from `at` on, share their beginning. */
export type SharedPrefix = (batch: MicroBatch, at: number) => Shared;

export const ALONE: Shared = { prefix: 0, count: 1 };

/** Shorter beginnings gain less than another attention program costs. */
const LEAST = 16;

/** Rows that attention goes over at most; the two answers of a pair may be longer. Bounds the memory of scores and masks. */
export const SHARED_ROWS = 512;

/** Rows that attention may be computed for beyond a text's own. */
const SPAN = 16;

/**
 * How far samples share their beginning, as the answers to one prompt and chats with one system message do. What follows it in each
 * lies behind it one after the other, and a mask keeps each from the others, so no layer may tell positions from rows: none has a window
 * that hides anything, and all turn by the same frequencies. What is hidden is computed all the same, so the beginning must outweigh it.
 */
export function sharedPrefixOf(config: ModelConfig): SharedPrefix {
  const windows = Array.from({ length: config.numHiddenLayers }, (_, i) => layerKind(config, i).window ?? 0);
  const window = Math.min(...windows.map((w) => (w > 0 ? w : Number.POSITIVE_INFINITY)));
  return (batch, at) => {
    const { ids: first, index } = batch[at]!;
    let [best, most] = [ALONE, 0];
    let [prefix, tokens, alone] = [first.length, first.length, first.length ** 2];
    for (let next = at + 1; next < batch.length; next++) {
      const { ids, index: other } = batch[next]!;
      prefix = common(first, ids, prefix);
      tokens += ids.length;
      alone += ids.length ** 2;
      const count = next - at + 1;
      const rows = tokens - (count - 1) * prefix;
      const fits = rows <= SHARED_ROWS || (count === 2 && other === index);
      const sameTables = lengthClass(config, first.length) === lengthClass(config, ids.length);
      // A token costs about 24 D^2 in a layer's linear parts, and a score about 4 D.
      const gain = 6 * config.hiddenSize * prefix * (count - 1) - (rows ** 2 - alone);
      if (prefix < LEAST || !fits || !sameTables || rows + SPAN > window || gain <= most) break;
      [best, most] = [{ prefix, count }, gain];
    }
    return best;
  };
}

/** Leading tokens, up to `most`, that two texts have in common. */
function common(a: Int32Array, b: Int32Array, most: number): number {
  let n = 0;
  while (n < most && n < b.length && a[n] === b[n]) n++;
  return n;
}
