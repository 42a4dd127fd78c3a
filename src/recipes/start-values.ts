import { type AdapterInit, INITS, kindAsked, kindOf } from "../adapters/index.js";
import { readAdapter } from "../formats/peft/adapter.js";
import { type LoraConfig, type ModelConfig, weightShapes } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import { initialAdapter } from "../training/init.js";
import type { Trainables } from "../training/layer-plan.js";
import { compareBase } from "../weights/adapter-base.js";
import { heldAs } from "../weights/base-precision.js";
import type { OpenModel } from "../weights/model-folder.js";
import { resolveConfig } from "./config.js";
import type { TrainConfig } from "./config-schema.js";
import { snakeKeys } from "./names.js";
import { refuseIdlePatterns, resolveTrained } from "./targets.js";
import { refuseKeptHead } from "./trained-whole.js";

export interface Start {
  readonly trainables: Trainables;
  readonly initial: ReadonlyMap<string, HostTensor>;
  readonly fixed?: ReadonlyMap<string, HostTensor>;
  readonly message?: string;
}

/** What is trained and where it starts: a fresh adapter, one to go on from, or the whole model. */
export async function startValues(config: TrainConfig, platform: Platform, base: OpenModel): Promise<Start> {
  const { files } = platform;
  if (config.fullFinetune) {
    heldAs(config.basePrecision, config.precision, config.bnb4bitUseDoubleQuant);
    if (config.basePrecision !== "f32" || config.baseOffload !== "none")
      throw new UserError(
        "full_finetune changes every weight, so it needs them as f32 in memory: leave out base_precision and base_offload",
      );
    if (config.adapter) throw new UserError("full_finetune trains the whole model: leave out adapter");
    const initial = new Map<string, HostTensor>();
    for (const [name, shape] of weightShapes(base.config))
      initial.set(name, { dtype: "f32", shape, data: await base.tensors.read(name) });
    return { trainables: { kind: "full" }, initial };
  }
  const lora = freshLora(config, base.config);
  if (!config.adapter) {
    const start = await initialAdapter(base.config, lora, config.seed, (name) => base.tensors.read(name));
    refuseKeptHead(config, lora, base.config);
    return { trainables: { kind: "lora", lora }, ...start };
  }
  const { residual }: AdapterInit = INITS[lora.init];
  if (residual)
    throw new UserError(
      `lora.init: ${lora.init} begins with a part of the base, and ${config.adapter} has begun already; leave out one of the two`,
    );
  const adapter = await readAdapter(files, config.adapter, base.config);
  refuseOtherShape(lora, adapter.config, config.adapter);
  refuseKeptHead(config, adapter.config, base.config);
  const other = (await compareBase(adapter, base)) === "different";
  return {
    trainables: { kind: "lora", lora: { ...adapter.config, dropout: lora.dropout, init: lora.init } },
    initial: adapter.tensors,
    message: other
      ? `${config.adapter} was trained on another base (${adapter.base.name ?? "unnamed"}); going on from it here`
      : `going on from ${config.adapter}: r ${adapter.config.r}, alpha ${adapter.config.alpha}`,
  };
}

/** The adapter that a config asks for, its targets resolved against the model. */
export function freshLora(config: TrainConfig, model: ModelConfig): LoraConfig {
  const {
    targetModules,
    layersToTransform,
    excludeModules,
    modulesToSave,
    trainableTokenIndices,
    rankPattern,
    alphaPattern,
    r,
    alpha,
    dropout,
    useRslora,
    init,
  } = config.lora;
  const kind = kindAsked(snakeKeys(config.lora) as Record<string, unknown>);
  const asked = { targetModules, layersToTransform, excludeModules, modulesToSave, trainableTokenIndices };
  const targets = resolveTrained(asked, model);
  for (const [key, patterns] of Object.entries({ rank_pattern: rankPattern, alpha_pattern: alphaPattern }))
    refuseIdlePatterns(`lora.${key}`, patterns, targets, model);
  return {
    ...(kind ? { kind } : {}),
    ...{ r, alpha, dropout, useRslora, init },
    ...targets,
    ...(Object.keys(rankPattern).length > 0 ? { rankPattern } : {}),
    ...(Object.keys(alphaPattern).length > 0 ? { alphaPattern } : {}),
  };
}

const DEFAULTS = resolveConfig({ base: "-", data: { train: "-" } }).lora;

/** A config that asks for another shape than the adapter it goes on from has is refused: it could not be honoured. */
function refuseOtherShape(asked: LoraConfig, has: LoraConfig, path: string): void {
  if (asked.kind && asked.kind !== has.kind) {
    const [wanted, actual] = [kindOf(asked.kind), kindOf(has.kind)];
    throw new UserError(
      `lora.${wanted.key}: ${path} is ${actual.title}, the config asks for ${wanted.title}; leave the key out`,
    );
  }
  const keys = [
    "r",
    "alpha",
    "rankPattern",
    "alphaPattern",
    "useRslora",
    "targetModules",
    "layersToTransform",
    "excludedModules",
    "modulesToSave",
    "trainableTokenIndices",
  ] as const;
  const none = {
    layersToTransform: undefined,
    excludedModules: undefined,
    modulesToSave: undefined,
    trainableTokenIndices: undefined,
    rankPattern: undefined,
    alphaPattern: undefined,
  };
  const fallback: Record<string, unknown> = { ...DEFAULTS, ...none };
  for (const key of keys) {
    const [wanted, actual, usual] = [asked[key], has[key], fallback[key]].map((value) =>
      JSON.stringify(Array.isArray(value) ? [...value].sort() : value),
    );
    if (wanted === actual || wanted === usual) continue;
    const name = Object.keys(snakeKeys({ [key]: 0 }) as object)[0];
    throw new UserError(`lora.${name}: ${path} has ${actual}, the config asks for ${wanted}; leave the key out`);
  }
}
