import { type AdapterInit, INITS, kindAsked, kindOf, withProduct } from "../adapters/index.js";
import { readAdapter } from "../formats/peft/adapter.js";
import type { TensorSource } from "../formats/source.js";
import { type LoraConfig, type ModelConfig, weightShapes } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import { type BaseValues, initialAdapter, type Taken, wholeStart } from "../training/init.js";
import type { Trainables } from "../training/layer-plan.js";
import { compareBase } from "../weights/adapter-base.js";
import { heldAs, storageOf } from "../weights/base-precision.js";
import { heldValues } from "../weights/load-model.js";
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
  readonly part?: ReadonlyMap<string, HostTensor>;
  readonly taken?: ReadonlyMap<string, Taken>;
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
    refuseKeptHead(config, lora, base.config);
    const { seesInputs }: AdapterInit = INITS[lora.init];
    const whole = await wholeStart(base.config, lora, (name) => base.tensors.read(name));
    if (seesInputs) return { trainables: { kind: "lora", lora }, initial: whole }; // the rest is found when the model is there
    refuseOtherBits(config);
    const start = await initialAdapter(base.config, lora, config.seed, valuesOf(config, base));
    return { trainables: { kind: "lora", lora }, ...start, initial: new Map([...start.initial, ...whole]) };
  }
  const { residual, seesInputs }: AdapterInit = INITS[lora.init];
  if (residual || seesInputs)
    throw new UserError(
      `lora.init: ${lora.init} begins with ${residual ? "a part of the base" : "what its layers are given"}, and ${config.adapter} has begun already; leave out one of the two`,
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

/** What a start may see of a base: its weights, and what they are as the base is held. */
function valuesOf(config: TrainConfig, { tensors }: OpenModel): BaseValues {
  const precision = heldAs(config.basePrecision, config.precision, config.bnb4bitUseDoubleQuant);
  return {
    read: (name) => tensors.read(name),
    held: (name, values) => {
      const { shape, stored } = tensors.tensors.get(name)!;
      return heldValues(name, storageOf(precision, name, shape, stored), values);
    },
    rounds: config.lora.loftqConfig.loftqIter,
  };
}

/** How a base is held in LoftQ's bits. */
const LOFTQ_PRECISION = { 4: "nf4", 8: "int8" } as const;

/** LoftQ makes up for what few bits lose: a base that is held in others, or that others hold too, cannot have it. */
export function refuseOtherBits({ basePrecision, baseCache, lora: { init, loftqConfig } }: TrainConfig): void {
  if (init !== "loftq") return;
  const wanted = LOFTQ_PRECISION[loftqConfig.loftqBits];
  if (basePrecision !== wanted)
    throw new UserError(
      `lora.init: loftq with loftq_bits ${loftqConfig.loftqBits} makes up for what base_precision ${wanted} loses, and the base is held as ${basePrecision}; set base_precision to ${wanted}`,
    );
  if (loftqConfig.loftqIter > 1 && baseCache !== false)
    throw new UserError(
      "lora.loftq_config.loftq_iter: with more than one round this run holds a base of its own, which no other run could use; leave out base_cache",
    );
}

/** The base without what a start takes out of its weights before they are held. */
export function withoutTaken(base: OpenModel, taken: ReadonlyMap<string, Taken> = new Map()): OpenModel {
  if (taken.size === 0) return base;
  const { tensors } = base;
  const read: TensorSource["read"] = async (name, target) => {
    const values = await tensors.read(name, target);
    const found = taken.get(name);
    if (found) values.set(await withProduct(values, found.site, found.factors, -1));
    return values;
  };
  return { ...base, tensors: { ...tensors, read } };
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

/** The `lora` section of a run that goes on from an adapter, whose shape that is; what it says of training stays. */
export const asAdapterHas = ({ dropout }: TrainConfig["lora"]): TrainConfig["lora"] => ({ ...DEFAULTS, dropout });

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
