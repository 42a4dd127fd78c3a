import type { Platform } from "../platform/platform.js";
import type { TrainConfig } from "./config-schema.js";
import { type LoadedModel, loadModel } from "./model.js";

/** Does what needs a run's base before it trains: on the model that is there, or on one that is loaded for it and left again. */
export async function onBase<T>(
  config: TrainConfig,
  platform: Platform,
  given: LoadedModel | undefined,
  work: (model: LoadedModel) => Promise<T>,
): Promise<T> {
  if (given) return work(given);
  const { chatTemplateKwargs } = config.data;
  const model = await loadModel(config.base, platform, { ...config, chatTemplateKwargs });
  try {
    return await work(model);
  } finally {
    await model.dispose();
  }
}
