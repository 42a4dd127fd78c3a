import type { Platform } from "../platform/platform.js";
import type { TrainOptions } from "./config-schema.js";
import { type ExportReport, exportAdapter } from "./export.js";

export interface MergeReport extends ExportReport {
  /** Largest difference between a logit of base + adapter and of the merged model. */
  readonly worstLogitDifference: number;
  readonly largestLogit: number;
  /** Largest difference the adapter makes to the base's logits: the merged model must have it too. */
  readonly adapterEffect: number;
}

/**
 * Folds an adapter into its base (W + scale B A) and writes a Hugging Face folder: the export to `hf`, run and compared, by a
 * shorter name. Throws UserError as that does.
 */
export async function merge(
  base: string,
  adapter: string,
  output: string,
  platform: Platform,
  options: Pick<TrainOptions, "device" | "threads"> = {},
): Promise<MergeReport> {
  const report = await exportAdapter({ ...options, base, adapter, output, to: "hf" }, platform);
  const { type: _, ...differences } = report.logits[0]!;
  return { ...report, ...differences };
}
