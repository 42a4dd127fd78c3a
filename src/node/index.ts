import type { Platform } from "../platform/platform.js";
import {
  type AugmentOptions,
  type AugmentReport,
  type AugmentRequest,
  augment as augmentOn,
} from "../recipes/augment/augment.js";
import {
  type CombineReport,
  type CombineRequest,
  combine as combineOn,
  type ExtractReport,
  type ExtractRequest,
  extract as extractOn,
} from "../recipes/combine.js";
import type { TrainOptions } from "../recipes/config-schema.js";
import type { Run, TrainEvent, TrainResult } from "../recipes/events.js";
import { type ExportOptions, type ExportReport, exportAdapter as exportAdapterOn } from "../recipes/export.js";
import { type ImportOptions, type ImportReport, importAdapter as importAdapterOn } from "../recipes/import.js";
import { type Inspection, inspect as inspectWith } from "../recipes/inspect.js";
import { loraFinetune as loraFinetuneOn, type RunOptions } from "../recipes/lora-finetune.js";
import { type MergeReport, merge as mergeOn } from "../recipes/merge.js";
import { type LoadedModel, type LoadOptions, loadModel as loadModelOn } from "../recipes/model.js";
import { type Plan, plan as planOn } from "../recipes/plan.js";
import { nodeFiles } from "./files.js";
import { resolvePath } from "./paths.js";
import { nodePlatform } from "./platform.js";

export type { Platform } from "../platform/platform.js";
export type { AugmentOptions, AugmentReport, AugmentRequest } from "../recipes/augment/augment.js";
export type { CombineReport, CombineRequest, ExtractReport, ExtractRequest } from "../recipes/combine.js";
export { readConfig, resolveConfig, writeConfig } from "../recipes/config.js";
export type { TrainConfig, TrainOptions } from "../recipes/config-schema.js";
export { type EvaluateOptions, type Evaluation, evaluate } from "../recipes/evaluate.js";
export type { Run, TrainEvent, TrainResult } from "../recipes/events.js";
export type { ExportOptions, ExportReport } from "../recipes/export.js";
export { mergeAdapter, unmergeAdapter } from "../recipes/fold.js";
export { type Generated, type GenerateTextOptions, generate, type Prompt } from "../recipes/generate.js";
export type { ImportOptions, ImportReport } from "../recipes/import.js";
export type { Inspection } from "../recipes/inspect.js";
export type { TokenChance, TokenLogprob } from "../recipes/logprobs.js";
export type { RunOptions } from "../recipes/lora-finetune.js";
export type { MergeReport } from "../recipes/merge.js";
export { applyAdapter, type LoadedAdapter, type LoadedModel } from "../recipes/model.js";
export type { Plan } from "../recipes/plan.js";
export { evaluateSuite, type SuiteOptions, type SuiteResult } from "../recipes/suite/evaluate-suite.js";
export { suiteReport } from "../recipes/suite/report.js";
export { UserError } from "../tensor/errors.js";
export type { EvalMetrics, StepMetrics } from "../training/metrics.js";
export { type HttpServer, type HttpServerOptions, serveHttp } from "./http-server.js";
export { type DownloadOptions, type DownloadProgress, downloadModel } from "./hub/download.js";
export { nodePlatform } from "./platform.js";
export { type ServeOptions, type Serving, serve } from "./serve.js";

type EngineChoice = Pick<TrainOptions, "device" | "threads">;
type ModelChoice = LoadOptions;

let shared: Platform | undefined;

/** The platform of these functions; its one worker does not keep the process alive. */
function platform(): Platform {
  shared ??= nodePlatform();
  return shared;
}

/**
 * Fine-tunes a model with LoRA on this machine. Iterate over the run for its events, or await `result()`:
 *
 *     const { adapter } = await loraFinetune({ base: "models/llama", data: { train: "rows.jsonl" } }).result();
 *
 * Throws UserError for what the user can mend; see docs/config.md for the keys (camelCase here).
 */
export function loraFinetune(options: TrainOptions, run?: RunOptions): Run<TrainEvent, TrainResult> {
  return loraFinetuneOn(options, platform(), run);
}

/**
 * Loads a Hugging Face folder, a GGUF file or a downloaded `owner/name` to generate with and evaluate. Call `dispose()`
 * when done. Throws UserError when it is not there, damaged or of another architecture.
 */
export function loadModel(base: string, options?: ModelChoice): Promise<LoadedModel> {
  return loadModelOn(base, platform(), options);
}

/**
 * Writes base + adapter as a Hugging Face folder and measures how far the two are apart. Throws UserError when `output`
 * holds something already or the merged model does not compute what base + adapter does.
 */
export function merge(base: string, adapter: string, output: string, options?: EngineChoice): Promise<MergeReport> {
  return mergeOn(base, adapter, output, platform(), options);
}

/**
 * Says what a model, adapter, GGUF or safetensors file holds, or a downloaded `owner/name`. Throws UserError when it is damaged or
 * none of these.
 */
export function inspect(path: string): Promise<Inspection> {
  return inspectWith(nodeFiles, resolvePath(path));
}

/** Works out what a run will take: parameters, memory by kind, time. Throws UserError as `loraFinetune` would. */
export function plan(options: TrainOptions): Promise<Plan> {
  return planOn(options, platform());
}

/**
 * Exports an adapter for another system and holds the result against the adapter before it keeps it. Throws UserError when a
 * gate fails, the adapter is of another base, or `output` holds something already.
 */
export function exportAdapter(options: ExportOptions): Promise<ExportReport> {
  return exportAdapterOn(options, platform());
}

/** Writes an mlx-lm adapter or a llama.cpp LoRA GGUF as a PEFT folder. Throws UserError when it does not fit the base. */
export function importAdapter(options: ImportOptions): Promise<ImportReport> {
  return importAdapterOn(options, platform());
}

/** Writes one adapter made of several, as PEFT's `add_weighted_adapter`. Throws UserError when they do not fit each other. */
export function combine(request: CombineRequest): Promise<CombineReport> {
  return combineOn(request, platform());
}

/**
 * Writes the adapter of rank r that is nearest to the difference of two models (SVD). Throws UserError when they differ in shape
 * or not at all.
 */
export function extract(request: ExtractRequest): Promise<ExtractReport> {
  return extractOn(request, platform());
}

/**
 * Writes rows with twins that are answered "I don't know", and with what the base answers itself. Throws UserError when no row is
 * a question and its answer, or names anything.
 */
export function augment(request: AugmentRequest, options?: AugmentOptions): Promise<AugmentReport> {
  return augmentOn(request, platform(), options);
}
