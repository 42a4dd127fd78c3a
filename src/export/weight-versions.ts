import type { Adapter } from "../formats/peft/adapter.js";
import { holdsWeight, mergeWeight, putWeight } from "./merge.js";
import type { Track } from "./streamed-run.js";

/** Tracks that run on the same values of a weight, and what makes these of the values that the version before had. */
export interface WeightVersion {
  readonly users: readonly number[];
  readonly change: (values: Float32Array) => void | Promise<void>;
}

/**
 * The versions of one model's weight that its tracks, by their indices, run on: the model's own, those that adapters beside it hold whole, and last
 * the one with the adapter merged in. Each is made in the place of the one before.
 */
export function weightVersions(name: string, tracks: readonly Track[], mine: readonly number[]): WeightVersion[] {
  const merged = mine.filter((i) => tracks[i]!.merged !== undefined);
  const held = (i: number): Adapter | undefined => {
    const { merged, beside } = tracks[i]!;
    return merged === undefined && beside && holdsWeight(name, beside) ? beside : undefined;
  };
  const holders = [...new Set(mine.flatMap((i) => held(i) ?? []))];
  const versions: WeightVersion[] = [
    { users: mine.filter((i) => !merged.includes(i) && !held(i)), change: () => undefined },
    ...holders.map((adapter) => ({
      users: mine.filter((i) => held(i) === adapter),
      change: (values: Float32Array) => putWeight(name, values, adapter),
    })),
    { users: merged, change: (values) => mergeWeight(name, values, tracks[merged[0]!]!.merged!) },
  ];
  return versions.filter(({ users }) => users.length > 0);
}
