import { KIND_KEYS, kindAsked } from "../adapters/index.js";
import { join } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import { OBJECTIVES, PROMPT_SETTINGS } from "../training/objectives/index.js";
import type { ObjectiveKind } from "../training/objectives/objective.js";
import type { OpenModel } from "../weights/model-folder.js";
import { openModel } from "../weights/model-folder.js";
import { bestMetricOf } from "./best.js";
import type { TrainConfig } from "./config-schema.js";
import { camelCase, snakeKeys } from "./names.js";
import { ownAnswering, trainIdentity } from "./training-rows.js";

/** A setting that a checkpoint from before there was one does not have: it counts where it is not `unset`. */
type Later = readonly [key: string, value: (config: TrainConfig) => unknown, unset?: unknown];

const LATER: readonly Later[] = [
  ["data.columns", ({ data }) => data.columns, {}],
  ["lora.exclude_modules", ({ lora }) => lora.excludeModules],
  ["lora.modules_to_save", ({ lora }) => lora.modulesToSave],
  ["lora.trainable_token_indices", ({ lora }) => lora.trainableTokenIndices],
  ["lora.loftq_config", ({ lora }) => (lora.init === "loftq" ? lora.loftqConfig : null)],
  ["lora.eva_config", ({ lora }) => (lora.init === "eva" ? lora.evaConfig : null)],
  ["optimizer.loraplus_lr_ratio", ({ optimizer }) => optimizer.loraplusLrRatio],
  ["objective.discopop_tau", ({ objective }) => objective.discopopTau],
  ["objective.lmbda", (config) => ownAnswering(config) ?? null],
  ["neftune_alpha", ({ neftuneAlpha }) => neftuneAlpha],
  ["communicator.local_steps", ({ communicator }) => communicator.localSteps],
  ["communicator.outer_lr", ({ communicator: { localSteps, outerLr } }) => (localSteps === null ? null : outerLr)],
  [
    "communicator.outer_momentum",
    ({ communicator: { localSteps, outerMomentum } }) => (localSteps === null ? null : outerMomentum),
  ],
  ["base_precision", ({ basePrecision }) => basePrecision, "f32"],
  ["bnb_4bit_use_double_quant", ({ bnb4bitUseDoubleQuant }) => bnb4bitUseDoubleQuant, false],
];

/** Settings of which a file counts, not its name, and what has done its work when training begins: it is in the files by then. */
const BY_FILES = [
  ...["data.train", "data.validation", "data.abstain", "data.known", "data.rewordings", "data.twin_variety"],
  ...["objective.keep", "objective.teacher"],
];

const APART: ReadonlySet<string> = new Set([...LATER.map(([key]) => key), ...BY_FILES]);

/** Settings that objectives with a teacher read; of these, objectives that sample read the last two. */
const TAUGHT = ["objective.teacher_prompt", "objective.divergence", "objective.temperature", "objective.top_k"];
const SAMPLED = TAUGHT.slice(2);

/** What must be the same for a checkpoint to be gone on from: everything that decides the next step's numbers. */
export async function identityOf(
  config: TrainConfig,
  platform: Platform,
  base: OpenModel,
): Promise<Readonly<Record<string, unknown>>> {
  const { adapter, objective } = config;
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
  const later = LATER.map(([key, value, unset = null]) => [key, value(config), unset] as const);
  return {
    base: await base.hash(),
    adapter: adapter && (await adapterHash(adapter, platform)),
    ...(await dataIdentity(config, platform)),
    ...settingsOf(config),
    ...(objective.reference === "base"
      ? {}
      : { "objective.reference": await adapterHash(objective.reference, platform) }),
    ...(usesTeacher(config) ? { "objective.teacher": await teacherHash(objective.teacher, platform) } : {}),
    ...(await bestIdentity(config, platform)),
    ...Object.fromEntries(later.filter(([, value, unset]) => !same(value, unset))),
  };
}

/** The settings that are compared as they are, by their dotted keys on disk. */
function settingsOf(config: TrainConfig): Record<string, unknown> {
  const { data, seed, fullFinetune, lora, optimizer, schedule, objective, maxGradNorm } = config;
  const { batchSize, gradientAccumulationSteps } = config;
  const sizes = { seed, fullFinetune, batchSize, gradientAccumulationSteps, maxGradNorm };
  const asked = kindAsked(snakeKeys(lora) as Record<string, unknown>);
  // Keys of kinds that are not asked for are left out: checkpoints from before there were any have none.
  const unasked = new Set(KIND_KEYS.flatMap(([key, kind]) => (kind === asked ? [] : [`lora.${key}`])));
  const all = flattened({ data, lora, optimizer, schedule, objective, ...sizes });
  const counts = (key: string) =>
    !APART.has(key) && !unasked.has(key) && (!key.startsWith("objective.") || isCompared(key, config));
  return Object.fromEntries(Object.entries(all).filter(([key]) => counts(key)));
}

/** Whether a setting of the objective decides what is learned. */
function isCompared(key: string, config: TrainConfig): boolean {
  const { name } = config.objective;
  const samples = OBJECTIVES[name].rows === "prompts";
  if (TAUGHT.includes(key)) return usesTeacher(config) || (samples && SAMPLED.includes(key));
  return name !== "sft" && (samples || !PROMPT_SETTINGS.has(camelCase(key.slice("objective.".length))));
}

const usesTeacher = ({ objective }: TrainConfig): boolean =>
  (OBJECTIVES[objective.name] as ObjectiveKind).usesTeacher === true;

/** The rows: of training, of validation, and those on which the model is to stay as it was. */
async function dataIdentity({ data, objective }: TrainConfig, { files, resolveData }: Platform) {
  const hashOf = (path: string) => files.sha256(resolveData(path));
  const { train, validation } = data;
  const { generate: _, plain: __, ...keep } = objective.keep; // what the base wrote is in the file by now
  const kept =
    typeof keep.data === "string" ? await hashOf(keep.data) : keep.data && (await Promise.all(keep.data.map(hashOf)));
  return {
    "data.train": await trainIdentity(train, hashOf),
    "data.validation": typeof validation === "string" ? await hashOf(validation) : validation,
    ...(keep.data === null ? {} : flattened({ "objective.keep": { ...keep, data: kept } })),
  };
}

const adapterHash = (folder: string, { files }: Platform): Promise<string> =>
  files.sha256(join(folder, "adapter_model.safetensors"));

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
