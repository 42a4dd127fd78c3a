import { join } from "../../formats/files.js";
import { jsonBytes, readObject } from "../../formats/json.js";
import { scaledConfig } from "../../formats/peft/scaled.js";
import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import type { TrainConfig } from "../config-schema.js";
import { note, type TrainEvent, type TrainResult } from "../events.js";
import { applyAdapter, type LoadedModel, loadModel } from "../model.js";
import { OUTPUT } from "../run-folder.js";
import { type ScaleScan, scanScale } from "./scale.js";
import { scaleChart } from "./scale-chart.js";
import { readSuite } from "./suite-file.js";

type Training = AsyncGenerator<TrainEvent, TrainResult>;

interface Context {
  readonly signal?: AbortSignal;
  /** The model that was trained on. Default: the config's is loaded. */
  readonly model?: LoadedModel;
}

/**
 * A training run, and behind it the scan of its adapter's scale that `scale.suite` asks for: the adapter is written at the best
 * scale, the curve into the run's folder. Without a suite: the run alone. Throws UserError for a suite that cannot be read before
 * anything is trained.
 */
export async function* thenScaled(run: Training, config: TrainConfig, platform: Platform, context: Context): Training {
  const { suite } = config.scale;
  if (suite === null) return yield* run;
  if (config.fullFinetune)
    throw new UserError("scale.suite: full_finetune makes no adapter whose scale could be chosen");
  if (config.lora.useDora)
    throw new UserError("scale.suite: a DoRA can be written at its whole scale alone; leave one of the two out");
  const { modulesToSave, trainableTokenIndices } = config.lora;
  if (modulesToSave ?? trainableTokenIndices)
    throw new UserError(
      "scale.suite: weights that are trained whole (lora.modules_to_save, lora.trainable_token_indices) have no scale; leave one of the two out",
    );
  await readSuite(platform, suite);
  const result = yield* withoutEnd(run);
  if (result.adapter !== undefined) {
    yield note(`asking ${suite} at ${config.scale.scales.length} scales of the adapter`);
    const scan = await scanned(result.adapter, suite, config, platform, context);
    if (scan) {
      await writeScan(result.adapter, scan, config, platform);
      const { score } = scan.points.find(({ scale }) => scale === scan.best)!;
      yield note(`the adapter is best at ${scan.best} of its scale (score ${score.toFixed(3)})`);
    }
  }
  yield { type: "end", result };
  return result;
}

/** What a run says but its end, and its result. */
async function* withoutEnd(run: Training): Training {
  for (;;) {
    const { done, value } = await run.next();
    if (done) return value;
    if (value.type !== "end") yield value;
  }
}

/** Undefined when it was stopped: the adapter then stays as it was trained. */
async function scanned(
  folder: string,
  suite: string,
  config: TrainConfig,
  platform: Platform,
  { signal, model: given }: Context,
): Promise<ScaleScan | undefined> {
  const { maxSeqLen, chatTemplateKwargs } = config.data;
  const model = given ?? (await loadModel(config.base, platform, { ...config, chatTemplateKwargs }));
  try {
    const adapter = await applyAdapter(model, folder);
    try {
      const stoppable = signal ? { signal } : {};
      return await scanScale(model, suite, adapter, { ...stoppable, maxSeqLen, scales: config.scale.scales });
    } finally {
      adapter.dispose();
    }
  } catch (error) {
    if (signal?.aborted) return undefined;
    throw error;
  } finally {
    if (!given) await model.dispose();
  }
}

async function writeScan(folder: string, scan: ScaleScan, config: TrainConfig, { files }: Platform): Promise<void> {
  const { outputDir } = config;
  await files.write(join(outputDir, OUTPUT.scale), jsonBytes({ best: scan.best, points: scan.points }));
  await files.write(join(outputDir, OUTPUT.scaleChart), scaleChart(scan, `Scale of ${outputDir}`));
  if (scan.best === 1) return;
  const name = "adapter_config.json";
  await files.write(join(folder, name), jsonBytes(await scaledConfig(files, folder, scan.best)));
  const path = join(outputDir, OUTPUT.manifest);
  const manifest = (await readObject(files, path)) as { adapter: { sha256: Record<string, string> } };
  const sha256 = { ...manifest.adapter.sha256, [name]: await files.sha256(join(folder, name)) };
  await files.write(path, jsonBytes({ ...manifest, adapter: { ...manifest.adapter, sha256, scale: scan.best } }));
}
