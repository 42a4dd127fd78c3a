import { mergeModel } from "../export/merge.js";
import { Decoder, type ResidentAdapter, Sequence } from "../generation/decoder.js";
import type { Platform } from "../platform/platform.js";
import { random, UserError } from "../tensor/index.js";
import { sameTemplates, type TokenizerFiles } from "../tokenizers/files.js";
import { withTemplates } from "../tokenizers/template-arguments.js";
import { linearType } from "../weights/adapter-base.js";
import { loadWeights, type ResidentModel } from "../weights/load-model.js";

import { type OpenModel, openModel } from "../weights/model-folder.js";
import type { TrainConfig } from "./config-schema.js";
import { applyAdapter, type LoadedAdapter, type LoadOptions, loadModel } from "./model.js";

/** Tokens of the text that merged and unmerged model are compared on. */
const PROBE = 16;
/** Largest difference let through, as a share of the largest logit: what rounding to the weights' type can do. */
const BOUNDS: Readonly<Record<string, number>> = { f32: 1e-3, f16: 2e-2, bf16: 1e-1 };

export interface MergeReport {
  readonly output: string;
  /** Largest difference between a logit of base + adapter and of the merged model. */
  readonly worstLogitDifference: number;
  readonly largestLogit: number;
  /** Largest difference the adapter makes to the base's logits: the merged model must have it too. */
  readonly adapterEffect: number;
}

/**
 * Folds an adapter into its base (W + scale B A) and writes a Hugging Face folder. Runs both on the same tokens: a merged
 * model whose logits differ from base + adapter by more than rounding explains is deleted. Throws UserError then, and when
 * the adapter belongs to another base or `output` holds something already.
 */
export async function merge(
  base: string,
  adapterPath: string,
  output: string,
  platform: Platform,
  options: Partial<Pick<TrainConfig, "device" | "threads">> & Pick<LoadOptions, "onNote"> = {},
): Promise<MergeReport> {
  const { files } = platform;
  const model = await loadModel(base, platform, options);
  let ids: number[];
  let unmerged: Float32Array[];
  let bare: Float32Array[];
  try {
    const applied = await applyAdapter(model, adapterPath);
    await mergeModel(files, { ...model.open, tokenizer: withTemplateOf(applied, model.open) }, applied.adapter, output);
    const rng = random(0, "merge probe");
    ids = Array.from({ length: PROBE }, () => rng.below(model.open.config.vocabSize));
    bare = await logits(model.resident, ids);
    unmerged = await logits(model.resident, ids, applied.resident);
  } finally {
    await model.dispose();
  }
  const merged = await openModel(files, output);
  const device = await platform.startDevice({ device: options.device ?? "auto", threads: options.threads ?? 0 });
  try {
    const found = await logits(await loadWeights(device, merged), ids);
    const report = {
      output,
      worstLogitDifference: worst(found, unmerged),
      largestLogit: worst(unmerged),
      adapterEffect: worst(unmerged, bare),
    };
    await refuseBadMerge(report, merged, () => files.remove(output));
    return report;
  } finally {
    await device.dispose();
    await merged.close();
  }
}

/** The base's tokenizer with the chat template that the adapter was trained with. */
function withTemplateOf(applied: LoadedAdapter, base: OpenModel): TokenizerFiles {
  const templates = applied.chat?.().templates;
  if (!templates || sameTemplates(templates, base.tokenizer)) return base.tokenizer;
  return withTemplates(base.tokenizer, templates);
}

/** Logits after each token. */
async function logits(
  model: ResidentModel,
  ids: readonly number[],
  adapter?: ResidentAdapter,
): Promise<Float32Array[]> {
  const sequence = new Sequence(new Decoder(model), ids.length, adapter);
  const rows: Float32Array[] = [];
  for (const id of ids) rows.push(await sequence.feed([id]));
  sequence.dispose();
  return rows;
}

/** Largest absolute difference of two lists of logits; of one, its largest absolute value. NaN when there is any. */
function worst(a: readonly Float32Array[], b?: readonly Float32Array[]): number {
  let most = 0;
  for (const [i, row] of a.entries()) {
    for (let j = 0; j < row.length; j++) {
      const difference = Math.abs(row[j]! - (b?.[i]?.[j] ?? 0));
      if (Number.isNaN(difference)) return difference;
      if (difference > most) most = difference;
    }
  }
  return most;
}

async function refuseBadMerge(report: MergeReport, merged: OpenModel, remove: () => Promise<void>): Promise<void> {
  const dtype = linearType(merged);
  const bound = (BOUNDS[dtype] ?? 0.1) * report.largestLogit;
  if (report.worstLogitDifference <= bound) return;
  await remove();
  throw new UserError(
    `${report.output}: the merged model's logits differ from base + adapter by ${report.worstLogitDifference.toPrecision(3)}, more ` +
      `than rounding to ${dtype} explains (${bound.toPrecision(3)}); it was deleted. Use the adapter unmerged`,
  );
}
