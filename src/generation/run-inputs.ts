import { cacheGroups, type ModelConfig, ropeNames, ropeTables, rotaryPairs, rotationNames } from "../models/index.js";
import { f32, type HostTensor } from "../tensor/index.js";

/** A text as far as the inputs of a run tell of it. */
interface Placed {
  readonly row: number;
  readonly length: number;
  readonly reach: number;
  readonly starts: readonly number[];
}

/** The last position of each text in the caches of each group of layers; -1 where there is none. */
export function lastPositions(config: ModelConfig, rows: number, texts: readonly Placed[]): Record<string, HostTensor> {
  const lasts = cacheGroups(config).map(({ suffix }, group) => {
    const last = new Float32Array(rows).fill(-1);
    for (const [i, { length, starts }] of texts.entries()) last[i] = length - starts[group]! - 1;
    return [`last${suffix}`, f32([rows, 1], last)] as const;
  });
  return Object.fromEntries(lasts);
}

/**
 * cos and sin [n, rotaryDim/2] of the new positions, for every set of frequencies that layers turn by: `size` of each text whose
 * turn it is, in rows from `first` on.
 */
export function rotations(
  config: ModelConfig,
  { n, size, first }: { readonly n: number; readonly size: number; readonly first: number },
  turns: readonly { readonly sequence: Placed }[],
): Record<string, HostTensor> {
  const pairs = rotaryPairs(config);
  const found: Record<string, HostTensor> = {};
  for (const name of ropeNames(config)) {
    const [cos, sin] = [new Float32Array(n * pairs), new Float32Array(n * pairs)];
    for (const { sequence } of turns) {
      const at = (sequence.row - first) * size * pairs;
      const tables = ropeTables(config, size, { start: sequence.length, rope: name, total: sequence.reach });
      cos.set(tables.cos.data as Float32Array, at);
      sin.set(tables.sin.data as Float32Array, at);
    }
    const [cosName, sinName] = rotationNames(name);
    found[cosName] = f32([n, pairs], cos);
    found[sinName] = f32([n, pairs], sin);
  }
  return found;
}
