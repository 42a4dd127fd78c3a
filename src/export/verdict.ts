import { UserError } from "../tensor/index.js";
import type { GateResult } from "./gates.js";
import { choices } from "./greedy-continuation.js";
import type { Trial } from "./trials.js";

/**
 * Largest drift let through, as a share of the largest logit: what storing the weights in this type can do. The only such
 * table: every target is held to it, and merging is one of them.
 */
export const DRIFT: Readonly<Record<string, number>> = {
  f32: 1e-3,
  f16: 2e-2,
  bf16: 1e-1,
  q8_0: 1e-1,
  q6_k: 2e-1,
  q4_k: 1,
  q4_1: 1,
  q4_0: 1,
};

/** How far an export's logits are from base + adapter's: largest absolute differences. */
export interface LogitReport {
  /** How its weights are stored. */
  readonly type: string;
  readonly worstLogitDifference: number;
  readonly largestLogit: number;
  /** What the adapter changes in the base's logits: the export must have it too. 0 without an adapter. */
  readonly adapterEffect: number;
}

/** Logits of one trial and of what it is held against, [tokens, V] each. */
export interface Runs {
  readonly adapter: Float32Array;
  /** The base alone; undefined where there is no adapter. */
  readonly bare?: Float32Array;
  /** The merged model in fp32. */
  readonly fused: Float32Array;
  /** What the export should compute: the merged model with weights rounded as they are stored. */
  readonly expected: Float32Array;
  readonly found: Float32Array;
  /** Logits of the last tokens, which base + adapter chose by itself. */
  readonly greedy: number;
  readonly vocabulary: number;
}

export interface Verdict {
  readonly gates: readonly GateResult[];
  readonly logits: LogitReport;
  /** Why the type strays too far, if it does. */
  readonly tooCoarse?: string;
}

type TrialType = Pick<Trial, "type" | "label" | "computes">;

/** Holds a trial's logits against base + adapter's. Throws UserError when it does not compute what was meant to be written. */
export function judge(runs: Runs, trial: TrialType): Verdict {
  const logits = {
    type: trial.type,
    worstLogitDifference: worst(runs.found, runs.adapter),
    largestLogit: worst(runs.adapter),
    adapterEffect: runs.bare ? worst(runs.adapter, runs.bare) : 0,
  };
  refuseWrong(runs, trial, logits);
  const tooCoarse = coarseness(runs, trial, logits);
  const gates = gateResults(runs, trial, logits);
  return { gates, logits, ...(tooCoarse === undefined ? {} : { tooCoarse }) };
}

const bound = ({ type, largestLogit }: LogitReport): number => (DRIFT[type] ?? DRIFT.q4_0!) * largestLogit;

/** Why a difference is too large; undefined when it is not. NaN is too large. */
function fault(what: string, difference: number, most: number, largest: number): string | undefined {
  if (difference <= most) return undefined;
  return `${what}: logits differ by ${number(difference)}, at most ${number(most)} were expected (largest logit ${number(largest)})`;
}

function refuseWrong(
  { adapter, bare, fused, expected, found }: Runs,
  { computes }: TrialType,
  logits: LogitReport,
): void {
  const { largestLogit: largest, adapterEffect: effect } = logits;
  // Less than what the adapter changes, so that an export without it cannot pass.
  const least = bare ? Math.min(1e-3 * largest, Math.max(effect / 2, 1e-5 * largest)) : 1e-3 * largest;
  const why =
    fault("the merged model is not base + adapter", worst(fused, adapter), DRIFT.f32! * largest, largest) ??
    (computes
      ? undefined
      : fault("the export does not compute what was written", worst(found, expected), least, largest));
  if (why) throw new UserError(`${why}; it was not kept`, { code: "not_the_same" });
}

function coarseness({ expected, found }: Runs, trial: TrialType, logits: LogitReport): string | undefined {
  const { type, computes } = trial;
  const { worstLogitDifference: drift, largestLogit: largest } = logits;
  const away = fault(`${type} is too coarse for this model`, drift, bound(logits), largest);
  if (away !== undefined || !computes) return away;
  return fault(
    `${type} does not compute what was written`,
    worst(found, expected),
    DRIFT[computes]! * largest,
    largest,
  );
}

function gateResults({ adapter, bare, fused, found, greedy, vocabulary }: Runs, trial: TrialType, logits: LogitReport) {
  const { type, worstLogitDifference: drift, largestLogit: largest, adapterEffect: effect } = logits;
  const same = (other: Float32Array) => agreement(other.subarray(-greedy), adapter.subarray(-greedy), vocabulary);
  const of = trial.label ? `, ${trial.label}` : "";
  const drowned = drift > effect ? ", which is less: take a finer type" : "";
  const changed = bare ? `; the adapter changes them by up to ${number(effect)}${drowned}` : "";
  const merged = bare ? `as base + adapter: merged ${same(fused)},` : "as the model:";
  return [
    { gate: `greedy tokens${of}`, found: `${merged} export ${same(found)}` },
    {
      gate: `logits${of}`,
      found:
        `worst difference ${number(drift)} (${type}; bound ${number(bound(logits))}, ` +
        `largest logit ${number(largest)})${changed}`,
    },
  ];
}

const number = (x: number): string => x.toPrecision(3);

/** Largest absolute difference of two runs' logits; of one, its largest logit. NaN when either holds one. */
function worst(a: Float32Array, b?: Float32Array): number {
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - (b?.[i] ?? 0));
    if (!(difference <= most)) most = difference;
  }
  return most;
}

/** "12 of 12": how often both choose the same next token. */
function agreement(a: Float32Array, b: Float32Array, vocabulary: number): string {
  const [these, those] = [choices(a, vocabulary), choices(b, vocabulary)];
  return `${these.filter((id, at) => id === those[at]).length} of ${those.length}`;
}
