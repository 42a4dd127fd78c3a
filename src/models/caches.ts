import { bytesOf } from "../tensor/index.js";
import { heldBlocks, layerKind, type ModelConfig } from "./config.js";

/** Layers whose KV caches are alike: those without a window, or those with windows of one length. */
export interface CacheGroup {
  /** What the names of its inputs and outputs end in: nothing, or the window's length. */
  readonly suffix: string;
  readonly layers: readonly number[];
  /** Positions that a token sees, itself included; undefined: all before it. */
  readonly window: number | undefined;
}

/** Tokens that one run adds to a cache at most. */
export const MOST_FED = 512;

const known = new WeakMap<ModelConfig, readonly CacheGroup[]>();

/** The layers that are held of a model, by the caches they need, those without a window first. */
export function cacheGroups(config: ModelConfig): readonly CacheGroup[] {
  let groups = known.get(config);
  if (groups) return groups;
  const byWindow = new Map<number | undefined, number[]>();
  const { first, end } = heldBlocks(config);
  for (let layer = first; layer < end; layer++) {
    const { window } = layerKind(config, layer);
    byWindow.set(window, [...(byWindow.get(window) ?? []), layer]);
  }
  groups = [...byWindow]
    .sort(([a], [b]) => (a ?? 0) - (b ?? 0))
    .map(([window, layers]) => ({ suffix: window === undefined ? "" : `_${window}`, layers, window }));
  known.set(config, groups);
  return groups;
}

/**
 * Positions that a group's caches hold for texts of up to `capacity` tokens. With a window they hold what a token sees and what a
 * run adds; when that is full, what is out of the window is dropped and the rest moves to the front.
 */
export function groupCapacity({ window }: CacheGroup, capacity: number): number {
  return window === undefined ? capacity : Math.min(capacity, 8 * Math.ceil((window + MOST_FED) / 8));
}

/** Whether a cache that begins at position `start` of a text holds what a token at `position` sees. */
export const reaches = ({ window }: CacheGroup, start: number, position: number): boolean =>
  start === 0 || (window !== undefined && position - window + 1 >= start);

/** The size of a group's KV caches of some positions in `rows` texts: [2 L, rows, KV, positions, hd]. */
export function cacheShape(
  { numKeyValueHeads, headDim }: ModelConfig,
  { layers }: CacheGroup,
  rows: number,
  positions: number,
): readonly number[] {
  return [2 * layers.length, rows, numKeyValueHeads, positions, headDim];
}

/** Bytes that the caches of one text of up to `capacity` tokens take. */
export function cacheBytes(config: ModelConfig, capacity: number): number {
  return cacheGroups(config).reduce((sum, group) => {
    return sum + bytesOf("f32", cacheShape(config, group, 1, groupCapacity(group, capacity)));
  }, 0);
}
