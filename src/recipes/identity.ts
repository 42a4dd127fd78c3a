import { KIND_KEYS, kindAsked } from "../adapters/index.js";
import { join } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import { OBJECTIVES, PROMPT_SETTINGS } from "../training/objectives/index.js";
import type { ObjectiveKind } from "../training/objectives/objective.js";
import type { OpenModel } from "../weights/model-folder.js";
import { openModel } from "../weights/model-folder.js";
import { bestMetricOf } from "./best.js";
import type { TrainConfig } from "./config-schema.js";
import { snakeKeys } from "./names.js";
import { trainIdentity } from "./training-rows.js";

/** What must be the same for a checkpoint to be gone on from: everything that decides the next step's numbers. */
export async function identityOf(
  config: TrainConfig,
  platform: Platform,
  base: OpenModel,
): Promise<Readonly<Record<string, unknown>>> {
  const { files } = platform;
  // What data.abstain made is in the training file by now.
  const {
    validation,
    train,
    columns,
    abstain: _,
    known: __,
    rewordings: ____,
    twinVariety: _____,
    ...rows
  } = config.data;
  const { excludeModules, modulesToSave, trainableTokenIndices, loftqConfig, evaConfig, ...lora } = config.lora;
  const keptIdentity = (data: string | string[]) => {
    const hashes = [data].flat().map((path) => files.sha256(platform.resolveData(path)));
    return typeof data === "string" ? hashes[0]! : Promise.all(hashes);
  };
  const weights = (path: string) => files.sha256(join(path, "adapter_model.safetensors"));
  const {
    keep: { generate: ___, ...keep }, // what the base wrote is in the file by now
    teacher,
    teacherPrompt,
    divergence,
    temperature,
    topK,
    discopopTau,
    ...compared
  } = config.objective;
  const { name, reference } = compared;
  // Checkpoints from before there were any have none.
  const samples = OBJECTIVES[name].rows === "prompts";
  const learned = {
    ...Object.fromEntries(Object.entries(compared).filter(([key]) => samples || !PROMPT_SETTINGS.has(key))),
    ...(samples ? { temperature, topK } : {}),
  };
  const { loraplusLrRatio, ...optimizer } = config.optimizer;
  const asked = loraplusLrRatio === null ? optimizer : config.optimizer; // checkpoints from before there was a ratio have none
  const unasked = new Set(
    KIND_KEYS.filter(([, kind]) => kind !== kindAsked(snakeKeys(lora) as Record<string, unknown>)).map(
      ([key]) => `lora.${key}`,
    ),
  );
  const settings = flattened({
    data: rows,
    seed: config.seed,
    fullFinetune: config.fullFinetune,
    lora,
    optimizer: asked,
    schedule: config.schedule,
    batchSize: config.batchSize,
    gradientAccumulationSteps: config.gradientAccumulationSteps,
    maxGradNorm: config.maxGradNorm,
  });
  return {
    base: await base.hash(),
    adapter: config.adapter && (await weights(config.adapter)),
    "data.train": await trainIdentity(train, (path) => files.sha256(platform.resolveData(path))),
    ...(Object.keys(columns).length === 0 ? {} : { "data.columns": columns }),
    "data.validation":
      typeof validation === "string" ? await files.sha256(platform.resolveData(validation)) : validation,
    // Keys of kinds that are not asked for are left out: checkpoints from before there were any have none.
    ...Object.fromEntries(Object.entries(settings).filter(([key]) => !unasked.has(key))),
    ...(name === "sft" ? {} : flattened({ objective: learned })),
    ...(discopopTau === null ? {} : { "objective.discopop_tau": discopopTau }),
    ...((OBJECTIVES[name] as ObjectiveKind).usesTeacher
      ? flattened({
          objective: { teacher: await teacherHash(teacher, platform), teacherPrompt, divergence, temperature, topK },
        })
      : {}),
    ...(keep.data === null
      ? {}
      : flattened({
          "objective.keep": { ...keep, data: await keptIdentity(keep.data) },
        })),
    ...(reference === "base" ? {} : { "objective.reference": await weights(reference) }),
    ...(config.neftuneAlpha === null ? {} : { neftune_alpha: config.neftuneAlpha }),
    ...(config.basePrecision === "f32" ? {} : { base_precision: config.basePrecision }),
    ...(config.bnb4bitUseDoubleQuant ? { bnb_4bit_use_double_quant: true } : {}),
    ...(await bestIdentity(config, platform)),
    ...(lora.init === "loftq" ? { "lora.loftq_config": loftqConfig } : {}),
    ...(lora.init === "eva" ? { "lora.eva_config": evaConfig } : {}),
    ...(excludeModules === null ? {} : { "lora.exclude_modules": excludeModules }),
    ...(modulesToSave === null ? {} : { "lora.modules_to_save": modulesToSave }),
    ...(trainableTokenIndices === null ? {} : { "lora.trainable_token_indices": trainableTokenIndices }),
  };
}

/** Which model a teacher is; "base" where it is the base. */
async function teacherHash(teacher: string, { files, resolveModel }: Platform): Promise<string> {
  if (teacher === "base") return teacher;
  const opened = await openModel(files, resolveModel(teacher));
  try {
    return await opened.hash();
  } finally {
    await opened.close();
  }
}

/** What the best evaluation is told by, but where that is the validation loss: a figure is compared with those of earlier evaluations. */
async function bestIdentity(config: TrainConfig, { files, resolveData }: Platform): Promise<Record<string, unknown>> {
  const metric = bestMetricOf(config);
  if (!metric || (metric.name === "loss" && metric.better === "less")) return {};
  const { evalSuite } = config;
  return {
    metric_for_best_model: `eval_${metric.name}`,
    greater_is_better: metric.better === "more",
    ...(evalSuite === null ? {} : { eval_suite: await files.sha256(resolveData(evalSuite)) }),
  };
}

/** Settings by their dotted keys on disk. */
function flattened(settings: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(snakeKeys(settings) as object).flatMap(([key, value]) =>
      value !== null && typeof value === "object" && !Array.isArray(value)
        ? Object.entries(value).map(([inner, x]) => [`${key}.${inner}`, x])
        : [[key, value]],
    ),
  );
}
