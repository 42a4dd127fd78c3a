import { UserError } from "../../tensor/index.js";
import { type LoadedAdapter, type LoadedModel, refuseOtherScale } from "../model.js";
import { evaluateEach, type SuiteOptions } from "./evaluate-suite.js";
import type { Figure } from "./figures.js";
import { SCALES } from "./scales.js";
import { scoreOf } from "./score.js";

/** What a suite finds at one scale of an adapter. */
export interface ScalePoint {
  /** Times the adapter's own scale. */
  readonly scale: number;
  readonly figures: readonly Figure[];
  /** From 0 to 1; the mean of what is wanted of a fine-tune, see `scoreOf`. */
  readonly score: number;
}

export interface ScaleScan {
  readonly points: readonly ScalePoint[];
  /** The scale of the highest score; of equal ones the largest. */
  readonly best: number;
}

/**
 * Asks a suite at several scales of an adapter. An adapter at less than its whole scale forgets less and keeps most of what it
 * learned; which is best is for the suite to say. Throws UserError as `evaluateSuite`, and for scales that are no scales.
 */
export async function scanScale(
  model: LoadedModel,
  path: string,
  adapter: LoadedAdapter,
  { scales = SCALES, ...options }: Omit<SuiteOptions, "adapter"> & { readonly scales?: readonly number[] } = {},
): Promise<ScaleScan> {
  const wrong = scales.find((scale) => !(scale > 0 && scale <= 2));
  if (wrong !== undefined || scales.length === 0)
    throw new UserError(`scales: expected numbers above 0, at most 2, got ${wrong ?? "none"}`);
  for (const scale of scales) refuseOtherScale(adapter, scale);
  const { factor = 1 } = adapter.resident;
  const scaled = scales.map((scale) => ({ ...adapter, resident: { ...adapter.resident, factor: factor * scale } }));
  const results = await evaluateEach(model, path, scaled, options);
  const points = results.map(({ figures }, i) => ({ scale: scales[i]!, figures, score: scoreOf(figures) }));
  const best = points.reduce((a, b) => (b.score > a.score || (b.score === a.score && b.scale > a.scale) ? b : a));
  return { points, best: best.scale };
}
