import { MARKS, type Sample } from "../../data/sample.js";
import type { SequenceOptions } from "./objective.js";

/**
 * Samples whose answers end with EOS where there is room for it, as TRL ends them for objectives without a reference, even behind
 * what a chat template writes after an answer.
 */
export function ended(samples: readonly Sample[], { eosId, maxSeqLen }: SequenceOptions): Sample[] {
  return samples.map((sample) => {
    const { beside } = sample;
    const own = endedOne(sample, eosId, maxSeqLen);
    return beside ? { ...own, beside: beside.map((other) => endedOne(other, eosId, maxSeqLen)) } : own;
  });
}

function endedOne(sample: Sample, eosId: number | undefined, maxSeqLen: number): Sample {
  const { ids, supervised } = sample;
  if (eosId === undefined || ids.at(-1) === eosId || ids.length >= maxSeqLen) return sample;
  return { ...sample, ids: Int32Array.of(...ids, eosId), supervised: Uint8Array.of(...supervised, MARKS.target) };
}
