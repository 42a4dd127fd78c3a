import { writeWholeModel } from "../export/whole-model.js";
import { type Files, join } from "../formats/files.js";
import { jsonBytes } from "../formats/json.js";
import { type Adapter, writeAdapter } from "../formats/peft/adapter.js";
import type { Platform } from "../platform/platform.js";
import type { HostTensor } from "../tensor/index.js";
import { onWholeBase } from "../training/whole-base.js";
import { adapterBase } from "../weights/adapter-base.js";
import type { OpenModel } from "../weights/model-folder.js";
import type { TrainConfig } from "./config-schema.js";
import type { TrainResult } from "./events.js";
import { OUTPUT } from "./run-folder.js";
import type { Start } from "./start-values.js";
import { trainingCard } from "./training-card.js";
import { trainManifest } from "./training-rows.js";

type Tensors = ReadonlyMap<string, HostTensor>;

/** What a run makes of the values it trains. */
export interface Results {
  /** As an adapter for its base; undefined where the whole model is trained. */
  readonly adapterOf: ((tensors: Tensors) => Promise<Adapter>) | undefined;
  /** As a folder: of an adapter in PEFT's form, or of the whole model. */
  readonly save: (into: string, tensors: Tensors, result?: TrainResult) => Promise<void>;
}

/** See `Results`; of a run that began at `start`. */
export function resultsOf({
  config,
  platform,
  base,
  start,
}: {
  readonly config: TrainConfig;
  readonly platform: Platform;
  readonly base: OpenModel;
  readonly start: Start;
}): Results {
  const { files } = platform;
  const { trainables } = start;
  if (trainables.kind === "full")
    return { adapterOf: undefined, save: (into, tensors) => writeWholeModel(files, into, base, tensors) };
  const adapterOf = async (tensors: Tensors) =>
    onWholeBase({ config: trainables.lora, tensors, base: await adapterBase(base, config.base) }, start.part);
  return {
    adapterOf,
    async save(into, tensors, result) {
      const card = await trainingCard(files, config, platform.versions, result);
      await writeAdapter(files, into, await adapterOf(tensors), { tokenizer: base.tokenizer, card });
    },
  };
}

/** Writes what a finished run was and gave, and the SHA-256 of every file of its result, into its folder. */
export async function writeManifest(
  config: TrainConfig,
  platform: Platform,
  adapter: string,
  { identity, chat }: { readonly identity: Readonly<Record<string, unknown>>; readonly chat: boolean },
  result: TrainResult,
): Promise<void> {
  const { files } = platform;
  const manifest = {
    format_version: 1,
    created: new Date(platform.now()).toISOString(),
    versions: platform.versions,
    seed: config.seed,
    device: config.device,
    threads: config.threads,
    base_precision: config.basePrecision,
    ...(config.bnb4bitUseDoubleQuant ? { bnb_4bit_use_double_quant: true } : {}),
    base: { name: config.base, sha256: identity.base },
    data: {
      train: trainManifest(config.data.train, identity["data.train"]),
      apply_chat_template: chat,
      validation: config.data.validation === null ? null : { source: config.data.validation },
    },
    adapter: { path: adapter, sha256: await weightHashes(files, adapter) },
    steps: result.step,
    loss: result.loss,
    eval_loss: result.evalLoss,
    best_eval_loss: result.bestEvalLoss,
    ...(result.best
      ? { metric_for_best_model: result.best.name, best_metric: result.best.value, best_global_step: result.best.step }
      : {}),
    ...(config.loadBestModelAtEnd ? { load_best_model_at_end: true } : {}),
  };
  await files.write(join(config.outputDir, OUTPUT.manifest), jsonBytes(manifest));
}

/** SHA-256 of every file in a folder, by name. */
async function weightHashes(files: Files, folder: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const name of await files.list(folder)) hashes[name] = await files.sha256(join(folder, name));
  return hashes;
}
