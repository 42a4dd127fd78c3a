import type { Sample } from "../data/sample.js";
import { layerKind, lengthClass, type ModelConfig } from "../models/index.js";

/** Leading tokens that two samples have in common and that are computed once for both; 0: each is computed by itself. */
export type SharedPrefix = (first: Sample, second: Sample) => number;

/** Shorter beginnings gain less than another attention program costs. */
const LEAST = 16;

/**
 * How far the two answers of a pair share their beginning. Their rows lie behind it one answer after the other, and a mask keeps each
 * from the other, so no layer may tell positions from rows: none has a window that hides anything, and both turn by the same frequencies.
 * What is hidden is computed all the same, so the beginning must outweigh it.
 */
export function sharedPrefixOf(config: ModelConfig): SharedPrefix {
  const windows = Array.from({ length: config.numHiddenLayers }, (_, i) => layerKind(config, i).window ?? 0);
  const window = Math.min(...windows.map((w) => (w > 0 ? w : Number.POSITIVE_INFINITY)));
  return (first, second) => {
    if (first.side !== "chosen" || second.side !== "rejected" || first.index !== second.index) return 0;
    const [a, b] = [first.ids, second.ids];
    let common = 0;
    while (common < a.length && common < b.length && a[common] === b[common]) common++;
    const rows = a.length + b.length - common;
    const hidden = (a.length - common) * (b.length - common);
    // A token costs about 24 D^2 in a layer's linear parts, and a score about 4 D.
    const pays = common >= LEAST && 6 * config.hiddenSize * common > hidden;
    const sameTables = lengthClass(config, a.length) === lengthClass(config, b.length);
    return pays && sameTables && rows + SPAN <= window ? common : 0;
  };
}

/** Rows that attention may be computed for beyond a text's own. */
const SPAN = 16;
