import { baseName, type Files } from "../formats/files.js";
import { adapterCard } from "../formats/model-card.js";
import type { TrainConfig } from "./config-schema.js";
import type { TrainResult } from "./events.js";
import { snakeKeys } from "./names.js";
import { filesOf, type TrainFile } from "./train-files.js";

/** Settings that say where a run happened and what it wrote, and not what came out of it. */
const UNSAID = new Set([
  "base",
  "output_dir",
  "device",
  "threads",
  "base_cache",
  "save_every",
  "keep_last",
  "eval_every",
  "eval_suite",
  "samples.prompts",
  "samples.file",
  "samples.max_new_tokens",
  "scale.suite",
  "scale.scales",
]);

/** The card of a training run's adapter: its settings, and how it came out once it is over. Of files only the names are told. */
export async function trainingCard(
  files: Files,
  config: TrainConfig,
  versions: Readonly<Record<string, string>>,
  result?: TrainResult,
): Promise<string> {
  const { train, validation, ...data } = config.data;
  const named = (source: string | number | null) => (typeof source === "string" ? baseName(source) : source);
  const told = { ...config, adapter: config.adapter && baseName(config.adapter) };
  const settings = snakeKeys({
    ...told,
    data: { train: filesOf(train).map(fileText).join(", "), validation: named(validation), ...data },
  }) as object;
  const results = result && {
    steps: result.step,
    loss: result.loss,
    "validation loss": result.evalLoss,
    "best validation loss": result.bestEvalLoss,
    ...(result.best && result.best.name !== "eval_loss" ? { [`best ${result.best.name}`]: result.best.value } : {}),
    ...(config.loadBestModelAtEnd && result.best ? { "step of the best": result.best.step ?? undefined } : {}),
  };
  return adapterCard(files, config.base, {
    hyperparameters: Object.fromEntries(flat(settings).filter(([key]) => !UNSAID.has(key))),
    ...(results ? { results } : {}),
    versions,
  });
}

const fileText = ({ path, weight }: TrainFile): string =>
  weight === undefined ? baseName(path) : `${baseName(path)} (weight ${weight})`;

/** Dotted keys of settings that are set. */
function flat(settings: object, prefix = ""): [string, unknown][] {
  return Object.entries(settings).flatMap(([key, value]): [string, unknown][] => {
    const inside = value !== null && typeof value === "object" && !Array.isArray(value);
    if (inside) return flat(value as object, `${prefix}${key}.`);
    return value === null ? [] : [[`${prefix}${key}`, value]];
  });
}
