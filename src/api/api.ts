import type { Platform } from "../platform/platform.js";
import { type AugmentOptions, type AugmentReport, type AugmentRequest, augment } from "../recipes/augment/augment.js";
import {
  type CombineReport,
  type CombineRequest,
  combine,
  type ExtractReport,
  type ExtractRequest,
  extract,
} from "../recipes/combine.js";
import type { TrainOptions } from "../recipes/config-schema.js";
import type { Run, TrainEvent, TrainResult } from "../recipes/events.js";
import { type ExportOptions, type ExportReport, exportAdapter } from "../recipes/export.js";
import { type ImportOptions, type ImportReport, importAdapter } from "../recipes/import.js";
import { type Inspection, inspect } from "../recipes/inspect.js";
import { loraFinetune, type RunOptions } from "../recipes/lora-finetune.js";
import { type MergeReport, merge } from "../recipes/merge.js";
import { type LoadedModel, type LoadOptions, loadModel } from "../recipes/model.js";
import { type Plan, type PlanOptions, plan } from "../recipes/plan.js";
import {
  type SweepEvent,
  type SweepOptions,
  type SweepRequest,
  type SweepResult,
  sweep,
} from "../recipes/sweep/sweep.js";

/** What needs a system to run on: files, an engine, templates. */
export interface Api {
  /**
   * Fine-tunes a model with LoRA on this machine. Iterate over the run for its events, or await `result()`:
   *
   *     const { adapter } = await loraFinetune({ base: "models/llama", data: { train: "rows.jsonl" } }).result();
   *
   * Throws UserError for what the user can mend; see docs/config.md for the keys (camelCase here).
   */
  loraFinetune(options: TrainOptions, run?: RunOptions): Run<TrainEvent, TrainResult>;
  /**
   * Trains an adapter at every point of a grid of config keys on one base, and compares them by a suite or the validation rows.
   * Iterate over the run for its events, or await `result()`. Throws UserError for keys and values that are none before anything runs.
   */
  sweep(request: SweepRequest, options?: SweepOptions): Run<SweepEvent, SweepResult>;
  /** Works out what a run will take: parameters, memory by kind, time; models a step of several ranks where asked. Throws UserError as `loraFinetune` would. */
  plan(options: TrainOptions, asked?: PlanOptions): Promise<Plan>;
  /**
   * Loads a Hugging Face folder, a GGUF file or a downloaded `owner/name` to generate with and evaluate. Call `dispose()`
   * when done. Throws UserError when it is not there, damaged or of another architecture.
   */
  loadModel(base: string, options?: LoadOptions): Promise<LoadedModel>;
  /**
   * Writes base + adapter as a Hugging Face folder and measures how far the two are apart. Throws UserError when `output`
   * holds something already or the merged model does not compute what base + adapter does.
   */
  merge(
    base: string,
    adapter: string,
    output: string,
    options?: Pick<TrainOptions, "device" | "threads">,
  ): Promise<MergeReport>;
  /**
   * Exports an adapter for another system and holds the result against the adapter before it keeps it. Throws UserError when a
   * gate fails, the adapter is of another base, or `output` holds something already.
   */
  exportAdapter(options: ExportOptions): Promise<ExportReport>;
  /** Writes an mlx-lm adapter or a llama.cpp LoRA GGUF as a PEFT folder. Throws UserError when it does not fit the base. */
  importAdapter(options: ImportOptions): Promise<ImportReport>;
  /** Writes one adapter made of several, as PEFT's `add_weighted_adapter`. Throws UserError when they do not fit each other. */
  combine(request: CombineRequest): Promise<CombineReport>;
  /**
   * Writes the adapter of rank r that is nearest to the difference of two models (SVD). Throws UserError when they differ in shape
   * or not at all.
   */
  extract(request: ExtractRequest): Promise<ExtractReport>;
  /**
   * Writes rows with twins that are answered "I don't know", and with what the base answers itself. Throws UserError when no row is
   * a question and its answer, or names anything.
   */
  augment(request: AugmentRequest, options?: AugmentOptions): Promise<AugmentReport>;
  /**
   * Says what a model, adapter, GGUF or safetensors file holds, or a downloaded `owner/name`. Throws UserError when it is damaged or
   * none of these.
   */
  inspect(path: string): Promise<Inspection>;
}

/** The functions of the package on a platform of your own. */
export function createApi(platform: Platform): Api {
  return {
    loraFinetune: (options, run) => loraFinetune(options, platform, run),
    sweep: (request, options) => sweep(request, platform, options),
    plan: (options, asked) => plan(options, platform, asked),
    loadModel: (base, options) => loadModel(base, platform, options),
    merge: (base, adapter, output, options) => merge(base, adapter, output, platform, options),
    exportAdapter: (options) => exportAdapter(options, platform),
    importAdapter: (options) => importAdapter(options, platform),
    combine: (request) => combine(request, platform),
    extract: (request) => extract(request, platform),
    augment: (request, options) => augment(request, platform, options),
    inspect: (path) => inspect(path, platform),
  };
}
