import { z } from "zod";
import type { Batches } from "../data/batches.js";
import type { MicroBatch } from "../data/sample.js";
import { join } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import { readNewestCheckpoint, writeCheckpoint } from "../training/checkpoints.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { COMMUNICATORS } from "../training/communicators/index.js";
import { anyRank, fromFirst } from "../training/communicators/values.js";
import { type Details, isEval, type StepMetrics } from "../training/metrics.js";
import { learningRate } from "../training/schedule.js";
import type { Trainer, TrainerState } from "../training/trainer.js";
import { bestMetricOf } from "./best.js";
import { writeConfig } from "./config.js";
import type { TrainConfig } from "./config-schema.js";
import { type EvaluationsState, openEvaluations } from "./evaluations.js";
import type { TrainEvent, TrainResult } from "./events.js";
import type { Found } from "./questions.js";
import { isFirst, shareState } from "./ranks.js";
import type { Learned, Rollouts } from "./rollouts/rollouts.js";
import { type MetricsLog, OUTPUT, openMetrics } from "./run-folder.js";

/** Steps in a row without a finite loss and gradient after which a run gives up. */
export const MAX_SKIPPED_STEPS = 3;

/** What the loop runs with; `lora-finetune.ts` puts it together. */
export interface TrainLoop {
  readonly config: TrainConfig;
  readonly trainer: Trainer;
  readonly batches: Batches;
  readonly validation: readonly MicroBatch[];
  /** What is asked at evaluations beside the validation rows, of these parameters. Default: nothing. */
  readonly ask?: (parameters: ReadonlyMap<string, HostTensor>) => Promise<Found>;
  /** What must be equal for a run to be resumed, by the names that a refusal uses. */
  readonly identity: Readonly<Record<string, unknown>>;
  /** Values of `identity` as earlier versions wrote them: as good as those there. */
  readonly formerIdentity?: Readonly<Record<string, unknown>>;
  /** Writes parameters as an adapter (or model) folder. */
  readonly save: (folder: string, parameters: ReadonlyMap<string, HostTensor>) => Promise<void>;
  readonly platform: Platform;
  readonly resume: boolean;
  /** Where steps learn not from their rows but from what the model makes of them: makes it so; and validates by it. Default: they do not. */
  readonly rollouts?: Pick<Rollouts, "begin" | "learn"> & Partial<Pick<Rollouts, "validate">>;
  /** Aborted: the step in progress is finished, a checkpoint written, and the run ends. */
  readonly signal?: AbortSignal;
  /** The ranks that run the same loop; any that is aborted ends all. Default: there is one. */
  readonly communicator?: Communicator;
}

const count = z.int().min(0);

/** What a checkpoint remembers beside parameters and moments. */
const PROGRESS = z.object({
  identity: z.record(z.string(), z.unknown()),
  cursor: z.object({ epoch: count, step: count }),
  skipped: count,
  bestEvalLoss: z.number().nullable(),
  bestMetric: z.number().nullable().default(null),
  bestStep: count.nullable().default(null),
  unimproved: count.default(0),
  elapsedSeconds: z.number().min(0),
});
type Progress = z.infer<typeof PROGRESS> & EvaluationsState;

function readProgress(value: unknown, where: string): Progress {
  const { data, error } = PROGRESS.safeParse(value);
  if (data) return data;
  const { path, message } = error.issues[0]!;
  throw new UserError(`${[where, ...path].join(".")}: ${message}`);
}

/**
 * Trains to the end, writing config, metrics and checkpoints to the output folder (which must be there). A run that is resumed
 * from a checkpoint ends with the same parameters, bit for bit, as one that was never stopped. Throws UserError after
 * `MAX_SKIPPED_STEPS` steps in a row without a finite loss, and when a checkpoint belongs to another run.
 */
export async function* trainLoop(loop: TrainLoop): AsyncGenerator<TrainEvent, TrainResult> {
  const { config, trainer, batches, platform, signal, rollouts, communicator = COMMUNICATORS.local() } = loop;
  const { outputDir: folder, maxGradNorm } = config;
  const totalSteps = batches.totalSteps(config);
  const notes: string[] = [];
  const resumed = await begin(loop, communicator, (message) => notes.push(message));
  for (const message of notes) yield { type: "note", message };
  let step = resumed?.step ?? 0;
  let skipped = resumed?.progress.skipped ?? 0;
  let savedStep = step;
  let wasIdle = false;
  if (!resumed) await rollouts?.begin();
  await platform.files.write(join(folder, OUTPUT.config), writeConfig(config));
  const metrics = await openMetrics(platform, folder, step);
  const evaluations = await openEvaluations(loop, metrics, step, evaluationsOf(resumed?.progress));
  const began = platform.now() - (resumed?.progress.elapsedSeconds ?? 0) * 1000;
  const elapsed = () => (platform.now() - began) / 1000;
  const { localSteps } = config.communicator;
  const meets = (at: number) => localSteps === null || isDue(at, localSteps, totalSteps);
  const isStopped = () => anyRank(communicator, signal?.aborted ?? false);
  const { trainableParameters, totalParameters } = trainer;
  yield { type: "start", step, totalSteps, trainableParameters, totalParameters };

  while (step < totalSteps && !evaluations.isOver && !(meets(step) && (await isStopped()))) {
    const place = batches.cursor;
    const rows = batches.next();
    const epoch = batches.epochsDone;
    const lr = learningRate(step, { ...config.schedule, lr: config.optimizer.lr, totalSteps });
    const started = platform.now();
    let learned: Learned | undefined;
    try {
      learned = await rollouts?.learn(rows, step);
    } catch (error) {
      yield* kept(error, place);
    }
    const microBatches = learned?.microBatches ?? rows;
    const done = await trainer.step(microBatches, { lr, maxGradNorm, meets: meets(step + 1) });
    step++;
    const row: StepMetrics = {
      step,
      epoch,
      loss: done.loss,
      learningRate: lr,
      gradNorm: done.gradNorm,
      tokens: done.tokens,
      supervisedTokens: done.supervisedTokens,
      tokensPerSecond: done.tokens / Math.max(1e-3, (platform.now() - started) / 1000),
      peakMemoryBytes: trainer.peakMemoryBytes(),
      elapsedSeconds: elapsed(),
      ...withDetails({ ...learned?.metrics, ...done.metrics }),
    };
    await metrics.add(row);
    yield { type: "step", metrics: row, totalSteps };
    skipped = done.applied ? 0 : skipped + 1;
    if (!done.applied) {
      const rows = microBatches.flat().flatMap(({ index, side }) => (side === "kept" ? [] : [index]));
      yield { type: "skipped", step, what: Number.isFinite(done.loss) ? "gradient" : "loss", rows };
      if (skipped >= MAX_SKIPPED_STEPS) throw notFinite(step, rows, folder);
    }
    const isIdle = done.applied && done.gradNorm === 0;
    if (isIdle && !wasIdle) {
      yield { type: "note", message: `step ${step}: the gradient is exactly zero; nothing was learned` };
    }
    wasIdle = isIdle;
    try {
      yield* evaluations.after(step, totalSteps, { epoch, elapsed });
    } catch (error) {
      yield* kept(error);
    }
    if (isDue(step, config.saveEvery, totalSteps)) {
      yield await checkpoint();
    }
  }
  const stoppedEarly = step < totalSteps && evaluations.isOver;
  const interrupted = step < totalSteps && !stoppedEarly;
  if (stoppedEarly) yield { type: "note", message: stoppedMessage(step, config, evaluations.state) };
  if (step < totalSteps && savedStep !== step) yield await checkpoint();
  await metrics.writeCharts();
  const { bestEvalLoss, bestMetric, bestStep } = evaluations.state;
  return summary(metrics, {
    outputDir: folder,
    step,
    totalSteps,
    interrupted,
    ...(stoppedEarly ? { stoppedEarly } : {}),
    bestEvalLoss: bestEvalLoss ?? undefined,
    ...(bestMetric === null
      ? {}
      : { best: { name: `eval_${bestMetricOf(config)!.name}`, value: bestMetric, step: bestStep } }),
  });

  /** Rewards may be others' to give, and fail: then the steps done are kept first, at `place` where the data went on already. */
  async function* kept(error: unknown, place = batches.cursor): AsyncGenerator<TrainEvent, never> {
    batches.seek(place);
    if (rollouts && savedStep !== step) yield await checkpoint();
    throw error;
  }

  async function checkpoint(): Promise<TrainEvent> {
    savedStep = step;
    const path = join(folder, OUTPUT.checkpoints, `step-${step}`);
    const state = await trainer.state(); // every rank of a pipeline has to ask
    if (!isFirst(communicator)) return { type: "checkpoint", step, path };
    const { cursor } = batches;
    const progress = { identity: loop.identity, cursor, skipped, ...evaluations.state, elapsedSeconds: elapsed() };
    await writeCheckpoint(
      platform.files,
      join(folder, OUTPUT.checkpoints),
      { step, state, progress: progress satisfies Progress },
      { keepLast: config.keepLast, fill: (into) => loop.save(join(into, OUTPUT.adapter), state.parameters) },
    );
    return { type: "checkpoint", step, path };
  }
}

const withDetails = (details: Details): { details?: Details } => (Object.keys(details).length > 0 ? { details } : {});

/** Every `every` steps and at the last one. */
export function isDue(step: number, every: number, totalSteps: number): boolean {
  return step === totalSteps || (every > 0 && step % every === 0);
}

/** What a checkpoint remembers of evaluations. */
function evaluationsOf(progress: Progress | undefined): Partial<EvaluationsState> {
  if (!progress) return {};
  const { bestEvalLoss, bestMetric, bestStep, unimproved } = progress;
  return { bestEvalLoss, bestMetric, bestStep, unimproved };
}

function stoppedMessage(
  step: number,
  config: TrainConfig,
  { unimproved, bestMetric, bestStep }: EvaluationsState,
): string {
  const { name } = bestMetricOf(config)!;
  const best = bestMetric === null ? "it was never finite" : `${bestMetric} after step ${bestStep} stayed the best`;
  return `stopped early after step ${step}: eval_${name} got no better in ${unimproved} evaluations; ${best}`;
}

/** Where the run begins: as the first rank has it, which alone needs to see the checkpoints. */
async function begin(
  loop: TrainLoop,
  communicator: Communicator,
  note: (message: string) => void,
): Promise<{ step: number; progress: Progress } | undefined> {
  const own = loop.resume && isFirst(communicator) ? await restore(loop, note) : undefined;
  const resumed = (await fromFirst(communicator, own?.begun ?? null)) ?? undefined;
  await shareState(communicator, loop.trainer, own?.state);
  if (resumed && !isFirst(communicator)) loop.batches.seek(resumed.progress.cursor);
  return resumed;
}

async function restore(
  loop: TrainLoop,
  note: (message: string) => void,
): Promise<{ begun: { step: number; progress: Progress }; state: TrainerState } | undefined> {
  const folder = join(loop.config.outputDir, OUTPUT.checkpoints);
  const found = await readNewestCheckpoint(loop.platform.files, folder, readProgress, note);
  if (!found) {
    note("no sound checkpoint to resume from: starting at the beginning");
    return undefined;
  }
  const { progress } = found;
  const differences = Object.keys({ ...progress.identity, ...loop.identity }).flatMap((key) => {
    const [was, is, former] = [progress.identity, loop.identity, loop.formerIdentity].map((of) =>
      JSON.stringify(of?.[key]),
    );
    return was === is || (was !== undefined && was === former) ? [] : [`  ${key}: was ${was}, is ${is}`];
  });
  if (differences.length > 0) {
    throw new UserError(
      `${found.path} belongs to another run; to resume, these must be as they were:\n${differences.join("\n")}`,
    );
  }
  try {
    await loop.trainer.restore(found.state);
    loop.batches.seek(progress.cursor);
  } catch (error) {
    throw error instanceof UserError ? new UserError(`${found.path}: ${error.message}`, { cause: error }) : error;
  }
  note(`resuming after step ${found.step} from ${found.path}`);
  return { begun: { step: found.step, progress }, state: found.state };
}

function notFinite(step: number, rows: readonly number[], folder: string): UserError {
  return new UserError(
    `loss or gradient was not finite in ${MAX_SKIPPED_STEPS} steps in a row; stopped at step ${step} ` +
      `(rows ${rows.join(", ")}). None of them was applied. A lower optimizer.lr, a longer schedule.warmup_steps or a look at ` +
      `these rows may help; checkpoints are in ${join(folder, OUTPUT.checkpoints)}`,
    { code: "not_finite" },
  );
}

function summary(metrics: MetricsLog, result: Omit<TrainResult, "loss" | "evalLoss">): TrainResult {
  const loss = metrics.rows.findLast((row): row is StepMetrics => !isEval(row))?.loss;
  const evalLoss = metrics.rows.findLast(isEval)?.evalLoss;
  return { ...result, loss, evalLoss };
}
