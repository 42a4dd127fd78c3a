import { join } from "../formats/files.js";
import type { EvalMetrics } from "../training/metrics.js";
import { afterEvaluation, type BestSoFar, bestMetricOf, figuresOfRow, metricValue, NOTHING_YET } from "./best.js";
import type { TrainEvent } from "./events.js";
import { isFirst } from "./ranks.js";
import { type MetricsLog, OUTPUT } from "./run-folder.js";
import { openSamples } from "./samples.js";
import { isDue, type TrainLoop } from "./train-loop.js";

/** What a run remembers of its evaluations from checkpoint to checkpoint. */
export interface EvaluationsState extends BestSoFar {
  /** The lowest validation loss, whatever the best adapter goes by. */
  readonly bestEvalLoss: number | null;
}

/** The evaluations of a run: what is measured, which was best, and whether it is time to stop. */
export interface Evaluations {
  readonly state: EvaluationsState;
  /** The patience is at its end. */
  readonly isOver: boolean;
  /** Evaluates after a step where it is due: the validation rows, the suite, the samples. */
  after(step: number, totalSteps: number, at: { readonly epoch: number; readonly elapsed: () => number }): Evaluating;
}

type Evaluating = AsyncGenerator<TrainEvent, void>;

/** Opens the evaluations of a run that goes on after `step`, as `before` remembers them. */
export async function openEvaluations(
  loop: TrainLoop,
  metrics: MetricsLog,
  step: number,
  before: Partial<EvaluationsState> = {},
): Promise<Evaluations> {
  const { config, trainer, platform, validation, ask, rollouts, communicator } = loop;
  const { outputDir: folder, earlyStoppingPatience: patience, earlyStoppingThreshold: threshold } = config;
  const metric = bestMetricOf(config);
  const samples = await openSamples(platform, folder, step);
  let state: EvaluationsState = { ...NOTHING_YET, bestEvalLoss: null, ...before };
  // Checkpoints of earlier versions know the lowest loss alone.
  if (metric?.name === "loss" && state.bestMetric === null) state = { ...state, bestMetric: state.bestEvalLoss };

  async function* evaluate(step: number, epoch: number, elapsed: () => number): Evaluating {
    const rewarded = validation.length > 0 ? await rollouts?.validate?.(step) : undefined;
    const validated = validation.length > 0 && !rollouts?.validate ? await trainer.validate(validation) : undefined;
    const found = ask && (await ask(await trainer.values()));
    const details = { ...rewarded, ...validated?.metrics, ...found?.figures };
    const row: EvalMetrics = {
      step,
      epoch,
      ...(validated ? { evalLoss: validated.loss } : {}),
      elapsedSeconds: elapsed(),
      ...(Object.keys(details).length > 0 ? { details } : {}),
    };
    if (Object.keys(figuresOfRow(row)).length > 0) {
      await metrics.add(row);
      const isBest = await count(row);
      yield { type: "eval", metrics: row, best: isBest };
    }
    if (found && found.samples.length > 0) {
      await samples.add(step, found.samples);
      yield { type: "samples", step, samples: found.samples };
    }
  }

  /** Counts an evaluation, and keeps the adapter where none was better. */
  async function count(row: EvalMetrics): Promise<boolean> {
    const { evalLoss = Number.NaN } = row;
    const lowest = evalLoss < (state.bestEvalLoss ?? Number.POSITIVE_INFINITY) ? evalLoss : state.bestEvalLoss;
    state = { ...state, bestEvalLoss: lowest };
    if (!metric) return false;
    const at = { step: row.step, value: metricValue(figuresOfRow(row), metric) };
    state = { ...state, ...afterEvaluation(state, at, { better: metric.better, threshold }) };
    if (state.bestStep !== row.step) return false;
    const parameters = await trainer.values(); // every rank of a pipeline has to ask
    if (communicator && !isFirst(communicator)) return true;
    await platform.files.makeFolder(join(folder, OUTPUT.checkpoints));
    await loop.save(join(folder, OUTPUT.checkpoints, OUTPUT.best), parameters);
    return true;
  }

  return {
    get state() {
      return state;
    },
    get isOver() {
      return patience !== null && state.unimproved >= patience;
    },
    async *after(step, totalSteps, { epoch, elapsed }) {
      if ((validation.length > 0 || ask) && isDue(step, config.evalEvery, totalSteps))
        yield* evaluate(step, epoch, elapsed);
    },
  };
}
