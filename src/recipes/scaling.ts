import { totalTokens } from "../data/batches.js";
import { type MicroBatch, together } from "../data/sample.js";
import { UserError } from "../tensor/index.js";
import { trainableShapes } from "../training/layer-plan.js";
import { layoutOf } from "../training/parameters.js";
import { type ModelledStep, modelStep, type Network, type StepCosts } from "../training/scaling.js";
import { type Calibration, calibrate, type StepSeconds } from "./calibration.js";
import type { PlannedStage, PlanOptions } from "./plan.js";
import type { RunMemory } from "./run-memory.js";

/** Modelled steps: of the ranks that were asked for, and of 1, 8, 16 ... 1,024 on networks of 1, 10 and 100 Gb/s. */
export interface Scaling {
  readonly network: Network;
  readonly asked: ModelledStep;
  /** Tokens of a mean step. */
  readonly tokensPerStep: number;
  readonly table: readonly { readonly gigabits: number; readonly steps: readonly ModelledStep[] }[];
}

const DEFAULTS = { bitsPerSecond: 10e9, latency: 50e-6 } as const;
/** Steps whose rows are dealt out to see how uneven that comes out. */
const LOOKED_AT = 20;
const RANKS = [1, 8, 16, 32, 64, 128, 256, 512, 1024];
const GIGABITS = [1, 10, 100];

interface Timed {
  readonly timing: Omit<Calibration, "step">;
  /** What a step takes here. */
  readonly timed: StepSeconds;
  readonly step: readonly MicroBatch[];
  readonly stages: readonly PlannedStage[] | undefined;
}

/** Models steps of several ranks; undefined where none were asked for. */
export async function scalingOf(
  of: RunMemory,
  timed: Timed,
  { ranks, network = {}, jitter }: PlanOptions,
): Promise<Scaling | undefined> {
  if (ranks === undefined) return undefined;
  const { pipeline } = of.config.parallel;
  if (!Number.isInteger(ranks) || ranks < 1 || ranks % pipeline !== 0)
    throw new UserError(
      `ranks: expected a whole number from 1${pipeline > 1 ? `, a multiple of parallel.pipeline, ${pipeline}` : ""}; got ${ranks}`,
    );
  if (jitter !== undefined && !(jitter >= 0)) throw new UserError(`jitter: expected a number from 0; got ${jitter}`);
  const costs = { ...(await costsOf(of, timed)), ...(jitter === undefined ? {} : { jitter }) };
  const reached = { ...DEFAULTS, ...network };
  const tokens = costs.steps.flat().reduce((a, b) => a + b, 0) / costs.steps.length;
  return {
    network: reached,
    asked: modelStep(costs, ranks, reached),
    tokensPerStep: tokens,
    table: GIGABITS.map((gigabits) => ({
      gigabits,
      steps: RANKS.map((n) => n * pipeline).map((n) =>
        modelStep(costs, n, { ...reached, bitsPerSecond: gigabits * 1e9 }),
      ),
    })),
  };
}

/** Two steps of unlike size are timed, so that what a token takes is told from what every step takes. */
async function costsOf(of: RunMemory, { timing, timed, step, stages }: Timed): Promise<StepCosts> {
  const { base, config, trainables, batches } = of;
  const { numHiddenLayers: layers, hiddenSize } = base.config;
  const whole = ({ layer, rest }: StepSeconds) => layer * layers + rest;
  const few = [rowsOf(step).reduce((a, b) => (totalTokens(b) < totalTokens(a) ? b : a))];
  const [much, little] = [tokensOf(step), tokensOf(few)];
  const least = much > little ? whole(await calibrate({ ...timing, step: few })) : 0;
  const secondsPerToken = Math.max((whole(timed) - least) / Math.max(1, much - little), 0.5 * (whole(timed) / much));
  const shares = (stages ?? []).map(
    ({ first, end }) => (timed.layer * (end - first) + (end === layers ? timed.rest : 0)) / whole(timed),
  );
  const place = batches.cursor;
  const steps = Array.from({ length: LOOKED_AT }, () => rowsOf(batches.next()).map(totalTokens));
  batches.seek(place);
  return {
    steps,
    secondsPerToken,
    secondsPerStep: Math.max(0, whole(timed) - secondsPerToken * much),
    gradientBytes: 4 * layoutOf(trainableShapes(base.config, trainables)).length,
    stages: config.parallel.pipeline,
    largestShare: Math.max(1 / config.parallel.pipeline, ...shares),
    streamBytes: 4 * hiddenSize,
    batchSize: config.batchSize,
    localSteps: config.communicator.localSteps ?? 1,
  };
}

const tokensOf = (batches: readonly MicroBatch[]): number =>
  batches.reduce((sum, batch) => sum + totalTokens(batch), 0);

/** A step's samples, those that stay together as one. */
function rowsOf(step: readonly MicroBatch[]): MicroBatch[] {
  const all = step.flat().filter(({ side }) => side !== "kept");
  const behind = new Set(all.flatMap(({ beside = [] }) => beside));
  return all.filter((sample) => !behind.has(sample)).map((sample) => together([sample]));
}
