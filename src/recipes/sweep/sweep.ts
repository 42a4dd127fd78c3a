import { join } from "../../formats/files.js";
import { claimFolder } from "../../formats/own-folder.js";
import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { isEval, readMetrics } from "../../training/metrics.js";
import { OBJECTIVES } from "../../training/objectives/index.js";
import { type BestMetric, bestMetric, figuresOfRow, isBetter, SUITE, suiteDetails, unknownMetric } from "../best.js";
import { resolveConfig, writeConfig } from "../config.js";
import type { TrainConfig, TrainOptions } from "../config-schema.js";
import { asRun, type Run, type TrainEvent, type TrainResult } from "../events.js";
import { loraFinetune } from "../lora-finetune.js";
import { applyAdapter, type LoadedModel, type LoadOptions, loadModel } from "../model.js";
import { OUTPUT } from "../run-folder.js";
import { freshLora } from "../start-values.js";
import { type OpenSuite, openSuite } from "../suite/evaluate-suite.js";
import { figureKeys } from "../suite/figures.js";
import { suiteReport } from "../suite/report.js";
import { readSuite } from "../suite/suite-file.js";
import { type Grid, type GridPoint, gridPoints } from "./grid.js";
import { sweepReport } from "./report.js";
import { folderOfPoint, identityOfPoint, openState, SWEEP, type SweepPoint, type SweepState } from "./state.js";

export interface SweepRequest {
  /** What all points have in common. Its `outputDir` is where the best config is to train later. */
  readonly config: TrainOptions;
  /** The values that each key is to take, by its dotted name: every combination is a point. */
  readonly grid: Grid;
  /** The folder of the sweep, with one of each point in it. */
  readonly output: string;
  /** A suite that is asked of every point's adapter. Default: the config's `evalSuite`. */
  readonly suite?: string;
  /** The figure that the best point is told by. Default: the config's `metricForBestModel`, else the suite's score, else the validation loss. */
  readonly metric?: string;
}

export interface SweepOptions {
  /** Continue the sweep in the folder: what is finished is not run again, what was begun goes on. Default false. */
  readonly resume?: boolean;
  /** Aborting finishes the step in progress, writes a checkpoint and ends the sweep. */
  readonly signal?: AbortSignal;
  /** The base, where it is loaded already. Default: it is loaded, once. */
  readonly model?: LoadedModel;
  /** Told how far the base is loaded. Default: nobody is told. */
  readonly onProgress?: LoadOptions["onProgress"];
}

/** What a sweep says while it goes on. */
export type SweepEvent =
  | { readonly type: "note"; readonly message: string }
  /** A point begins, or is found finished. */
  | {
      readonly type: "point";
      readonly number: number;
      readonly of: number;
      readonly values: GridPoint["values"];
      readonly finished: boolean;
    }
  /** What its training run says. */
  | { readonly type: "training"; readonly number: number; readonly event: TrainEvent }
  | { readonly type: "result"; readonly point: SweepPoint };

export interface SweepResult {
  readonly output: string;
  /** The keys that were swept. */
  readonly keys: readonly string[];
  readonly metric: BestMetric;
  readonly suite?: string;
  readonly base: string;
  /** The points that are done, in the grid's order. */
  readonly points: readonly SweepPoint[];
  readonly total: number;
  readonly best?: SweepPoint;
  /** The best point's config, as `train` takes it. */
  readonly bestConfig?: string;
  readonly interrupted: boolean;
}

/**
 * Trains an adapter at every point of a grid of config keys, one after the other on one base that is read once, and compares
 * what a suite or the validation rows say of them. Each point is a run of its own, byte for byte the one that `loraFinetune` makes
 * of its config. The folder receives a table (sweep.json), a page (report.html) and the best config (best.yaml). Throws UserError
 * for keys and values that are none, and whatever else can be told, before anything is trained.
 */
export function sweep(
  request: SweepRequest,
  platform: Platform,
  options: SweepOptions = {},
): Run<SweepEvent, SweepResult> {
  const config = resolveConfig(request.config);
  const points = gridPoints(request.config, request.grid);
  return asRun(
    program({ ...request, suite: request.suite ?? config.evalSuite ?? undefined }, config, points, platform, options),
  );
}

async function* program(
  request: SweepRequest,
  config: TrainConfig,
  points: readonly GridPoint[],
  platform: Platform,
  { resume = false, signal, model: given, onProgress }: SweepOptions,
): AsyncGenerator<SweepEvent, SweepResult> {
  const { output, suite } = request;
  const metric = await metricOf(request, config, platform);
  await claimFolder(platform.files, output, { kind: "sweep", what: "output", besides: /^\.lock(\.|$)/ });
  const release = await platform.lock(output);
  try {
    const state = await openState(platform, output, metric, resume);
    const { chatTemplateKwargs } = config.data;
    const model = given ?? (await loadModel(config.base, platform, { ...config, chatTemplateKwargs, onProgress }));
    try {
      for (const point of points) freshLora(point.config, model.open.config);
      const numbers: number[] = [];
      for (const point of points) {
        const identity = await identityOfPoint(point.config, platform, model.open, suite);
        numbers.push((await state.begin(point, identity)).number);
      }
      const asked =
        suite === undefined ? undefined : await openSuite(model, suite, { maxSeqLen: config.data.maxSeqLen });
      const context = { output, model, platform, state, signal, suite: asked, metric };
      let interrupted = false;
      for (const [i, { values, config: own }] of points.entries()) {
        const number = numbers[i]!;
        const finished = doneOf(state, number) !== undefined;
        yield { type: "point", number, of: points.length, values, finished };
        if (!finished) interrupted = !(yield* train(number, own, context));
        if (interrupted || signal?.aborted) break;
      }
      return await written(request, config, points, numbers, { state, metric, platform, base: model.name });
    } finally {
      if (!given) await model.dispose();
    }
  } finally {
    await release();
  }
}

/** The figure that the best point is told by. Throws UserError where there is none, or the suite does not give it. */
async function metricOf(request: SweepRequest, config: TrainConfig, platform: Platform): Promise<BestMetric> {
  const { suite } = request;
  const named = request.metric ?? config.metricForBestModel;
  const validation = config.data.validation !== null;
  const sampled = OBJECTIVES[config.objective.name].rows === "prompts";
  const metric = bestMetric({
    validation: validation && (named !== null || suite === undefined),
    sampled,
    suite: suite !== undefined,
    metricForBestModel: named,
    greaterIsBetter: request.metric === undefined ? config.greaterIsBetter : null,
  });
  if (!metric)
    throw new UserError("a sweep compares its points by what a suite or data.validation says of them; give one");
  const known = [
    ...(validation ? [sampled ? "reward" : "loss"] : []),
    ...(suite === undefined
      ? []
      : [...figureKeys(await readSuite(platform, suite)), "score"].map((key) => `${SUITE}${key}`)),
  ];
  const isKnown =
    known.includes(metric.name) || (validation && !metric.name.startsWith(SUITE) && metric.name !== "loss");
  if (!isKnown) throw unknownMetric(metric.name, known);
  return metric;
}

interface Context {
  readonly output: string;
  readonly model: LoadedModel;
  readonly platform: Platform;
  readonly state: SweepState;
  readonly signal: AbortSignal | undefined;
  readonly suite: OpenSuite | undefined;
  readonly metric: BestMetric;
}

/** Runs a point, or what is left of it, and measures it. False when it was interrupted. */
async function* train(number: number, config: TrainConfig, context: Context): AsyncGenerator<SweepEvent, boolean> {
  const { output, model, platform, state, signal } = context;
  const folder = folderOfPoint(output, number);
  const began = platform.now();
  const resume = (await platform.files.stat(folder)) !== undefined;
  const more = signal ? { signal } : {};
  const run = loraFinetune({ ...config, outputDir: folder }, platform, { resume, model, ...more });
  let trainableParameters = 0;
  for await (const event of run) {
    if (event.type === "start") trainableParameters = event.trainableParameters;
    yield { type: "training", number, event };
  }
  const result = await run.result();
  if (result.interrupted) return false;
  const figures = await figuresAt(folder, config, result, context);
  if (!figures) return false;
  const seconds = (platform.now() - began) / 1000;
  await state.finish(number, { adapter: result.adapter!, figures, trainableParameters, steps: result.step, seconds });
  yield { type: "result", point: doneOf(state, number)! };
  return true;
}

/** What is known of a point's adapter: its run's last evaluation, or the best where that is its result, and the suite's figures. Undefined when it was stopped. */
async function figuresAt(
  folder: string,
  config: TrainConfig,
  { best, loss, adapter: path }: TrainResult,
  { model, platform: { files }, suite, metric, signal }: Context,
): Promise<Record<string, number> | undefined> {
  const rows = readMetrics(new TextDecoder().decode(await files.read(join(folder, OUTPUT.metrics), 2 ** 30))).filter(
    isEval,
  );
  const row = config.loadBestModelAtEnd && best ? rows.find(({ step }) => step === best.step) : rows.at(-1);
  const evaluated = row ? figuresOfRow(row) : {};
  const adapter = suite && (await applyAdapter(model, path!));
  try {
    const found = adapter && (await suite!.ask(adapter, signal));
    if (found) await files.write(join(folder, SWEEP.suite), suiteReport(found));
    const all = { ...evaluated, ...(found ? suiteDetails(found.figures) : {}) };
    if (!Object.hasOwn(all, metric.name)) throw unknownMetric(metric.name, Object.keys(all));
    const named = Object.entries(all).map(([name, value]) => [`eval_${name}`, value] as const);
    // JSON has no place for what is not finite.
    return Object.fromEntries([["loss", loss ?? Number.NaN] as const, ...named].filter(([, x]) => Number.isFinite(x)));
  } catch (error) {
    if (signal?.aborted) return undefined;
    throw error;
  } finally {
    adapter?.dispose();
  }
}

/** A point with its results, once it is done. */
function doneOf({ stored }: SweepState, number: number): SweepPoint | undefined {
  const found = stored.find((one) => one.number === number);
  return found?.done && { number, values: found.values, ...found.done };
}

/** Writes what is known so far: the page, and the best config. */
async function written(
  { output, suite, grid, config: options }: SweepRequest,
  { outputDir }: TrainConfig,
  points: readonly GridPoint[],
  numbers: readonly number[],
  { state, metric, platform, base }: { state: SweepState; metric: BestMetric; platform: Platform; base: string },
): Promise<SweepResult> {
  const { files } = platform;
  const done = numbers.flatMap((number) => doneOf(state, number) ?? []);
  const best = bestOf(done, metric);
  const result: SweepResult = {
    output,
    keys: Object.keys(grid),
    metric,
    ...(suite === undefined ? {} : { suite }),
    base,
    points: done,
    total: points.length,
    ...(best ? { best, bestConfig: join(output, SWEEP.best) } : {}),
    interrupted: done.length < points.length,
  };
  if (best) {
    const { config } = points[numbers.indexOf(best.number)]!;
    await files.write(result.bestConfig!, writeConfig({ ...config, outputDir: options.outputDir ?? outputDir }));
  }
  if (done.length > 0) await files.write(join(output, SWEEP.report), sweepReport(result));
  return result;
}

/** The point with the best figure; of equal ones the first. */
function bestOf(points: readonly SweepPoint[], { name, better }: BestMetric): SweepPoint | undefined {
  const value = (point: SweepPoint) => point.figures[`eval_${name}`] ?? Number.NaN;
  return points.reduce<SweepPoint | undefined>(
    (best, point) => (isBetter(value(point), best ? value(best) : null, better) ? point : best),
    undefined,
  );
}
