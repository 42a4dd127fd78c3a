import { LINEARS, type LinearName } from "../models/config.js";
import type { LoraConfig, LoraInit, ModulePatterns } from "../models/lora-config.js";
import { modulePattern } from "../models/module-pattern.js";
import { nearest, UserError } from "../tensor/index.js";
import type { JsonObject } from "./json.js";

/** What an `adapter_config.json` says, before it is held against the tensors. */
export interface PeftConfig {
  readonly lora: Omit<LoraConfig, "targetModules" | "layersToTransform">;
  /** `target_modules`: names or paths of modules; undefined when a regular expression says which. */
  readonly targetModules?: readonly string[];
  readonly layersToTransform?: readonly number[];
  readonly baseModel?: string;
}

/** Keys that change nothing here, whatever they say. */
const IGNORED = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "eva_config",
  "inference_mode",
  "megatron_core",
  "peft_version",
  "qalora_group_size",
  "revision",
  "runtime_config",
]);
const READ = new Set([
  "alpha_pattern",
  "bias",
  "init_lora_weights",
  "layers_pattern",
  "layers_to_transform",
  "lora_alpha",
  "lora_dropout",
  "peft_type",
  "r",
  "rank_pattern",
  "target_modules",
  "task_type",
  "use_rslora",
]);

/** Initialisations that leave the base as it is, so that the adapter alone is the whole change. */
const INITS: ReadonlyMap<unknown, LoraInit> = new Map<unknown, LoraInit>([
  [true, "kaiming"],
  [false, "kaiming"],
  ["gaussian", "gaussian"],
  ["eva", "kaiming"],
  ["orthogonal", "kaiming"],
]);

/**
 * Reads PEFT's `adapter_config.json` (parsed). Throws UserError, by name, for everything that would change the result and
 * is not supported: DoRA, biases, saved modules, other adapter types, and keys it does not know unless they are
 * off (null, false, empty).
 */
export function readPeftConfig(json: JsonObject, where: string): PeftConfig {
  const fail = (what: string) => new UserError(`${where}: ${what}`);
  if (json.peft_type !== "LORA")
    throw fail(`peft_type ${JSON.stringify(json.peft_type)} is not supported (supported: LORA)`);
  if ((json.task_type ?? "CAUSAL_LM") !== "CAUSAL_LM")
    throw fail(`task_type ${JSON.stringify(json.task_type)} is not supported (supported: CAUSAL_LM)`);
  if ((json.bias ?? "none") !== "none")
    throw fail(`bias = ${JSON.stringify(json.bias)} is not supported (supported: "none")`);
  for (const [key, value] of Object.entries(json)) {
    if (!IGNORED.has(key) && !READ.has(key) && !isOff(value)) {
      throw fail(`${key} = ${JSON.stringify(value)} is not supported; merge this adapter with PEFT first`);
    }
  }
  const r = positive(json.r, "r", where);
  if (!Number.isInteger(r)) throw fail(`r must be a whole number, got ${r}`);
  const init = INITS.get(json.init_lora_weights ?? true);
  if (!init) {
    throw fail(
      `init_lora_weights ${JSON.stringify(json.init_lora_weights)} changes the base's weights, so this adapter alone is not the model; convert it with PEFT first`,
    );
  }
  const rankPattern = patterns(json, "rank_pattern", where);
  const broken = Object.entries(rankPattern ?? {}).find(([, rank]) => !Number.isInteger(rank));
  if (broken) throw fail(`rank_pattern: ${JSON.stringify(broken[0])} must be a whole number, got ${broken[1]}`);
  const alphaPattern = patterns(json, "alpha_pattern", where);
  const layers = layersOf(json.layers_to_transform, where);
  const target = json.target_modules;
  const targetModules = target === "all-linear" ? Object.keys(LINEARS) : names(target, where);
  return {
    lora: {
      r,
      alpha: positive(json.lora_alpha, "lora_alpha", where),
      dropout: json.lora_dropout === undefined ? 0 : fraction(json.lora_dropout, "lora_dropout", where),
      useRslora: json.use_rslora === true,
      init,
      ...(rankPattern ? { rankPattern } : {}),
      ...(alphaPattern ? { alphaPattern } : {}),
    },
    ...(layers ? { layersToTransform: layers } : {}),
    ...(targetModules ? { targetModules } : {}),
    ...(typeof json.base_model_name_or_path === "string" ? { baseModel: baseOf(json) } : {}),
  };
}

/** A base of the hub at a revision: PEFT keeps the two apart. */
const REVISED = /^([\w.-]+\/[\w.-]+)@(.+)$/;

function baseOf({ base_model_name_or_path: name, revision }: JsonObject): string {
  const revised = `${name}@${revision}`;
  return revision && revision !== "main" && REVISED.test(revised) ? revised : `${name}`;
}

/** Writes `adapter_config.json` with the keys that PEFT has had since 0.7, and no newer ones. */
export function writePeftConfig(lora: LoraConfig, baseModel: string | undefined): JsonObject {
  const [, name = baseModel, revision] = REVISED.exec(baseModel ?? "") ?? [];
  return {
    alpha_pattern: { ...lora.alphaPattern },
    auto_mapping: null,
    base_model_name_or_path: name ?? null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: lora.init === "gaussian" ? "gaussian" : true,
    layers_pattern: null,
    layers_to_transform: lora.layersToTransform ? [...lora.layersToTransform] : null,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    modules_to_save: null,
    peft_type: "LORA",
    r: lora.r,
    rank_pattern: { ...lora.rankPattern },
    revision: revision ?? null,
    target_modules: [...lora.targetModules],
    task_type: "CAUSAL_LM",
    use_rslora: lora.useRslora,
  };
}

/** Numbers above 0 by keys that `modulePattern` reads; undefined where there are none. */
function patterns(json: JsonObject, key: string, where: string): ModulePatterns | undefined {
  const value = json[key];
  if (isOff(value ?? null)) return undefined;
  if (typeof value !== "object" || Array.isArray(value))
    throw new UserError(`${where}: ${key} must be numbers by module names, got ${JSON.stringify(value)}`);
  const entries = Object.entries(value as JsonObject).map(([name, number]) => {
    modulePattern(name, `${where}: ${key}`);
    return [name, positive(number, `${key}: ${JSON.stringify(name)}`, where)] as const;
  });
  return Object.fromEntries(entries);
}

function isOff(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** null is PEFT's default for Llama; another text than "all-linear" is a regular expression. */
function names(target: unknown, where: string): string[] | undefined {
  if (target === null || target === undefined) return ["q_proj", "v_proj"];
  if (typeof target === "string") return undefined;
  if (Array.isArray(target) && target.length > 0 && target.every((item) => typeof item === "string")) return target;
  throw new UserError(`${where}: target_modules must be names, got ${JSON.stringify(target)}`);
}

/** One adapted linear layer: its block and its name. */
export type Target = readonly [layer: number, linear: LinearName];

/**
 * The linear layers that a list of modules stands for, matched as PEFT does: a module's path, or the end of one. Throws
 * UserError naming an entry that matches none.
 */
export function matchTargets(items: readonly string[], layerCount: number, where: string): Target[] {
  const known = Object.keys(LINEARS) as LinearName[];
  const modules = Array.from({ length: layerCount }, (_, layer) => layer).flatMap((layer) =>
    known.map((linear) => ({ target: [layer, linear] as const, path: `model.layers.${layer}.${LINEARS[linear]}` })),
  );
  const found = new Set<Target>();
  for (const item of items) {
    const matches = modules.filter(({ path }) => path === item || path.endsWith(`.${item}`));
    if (matches.length === 0) {
      const near = nearest(item, known);
      throw new UserError(
        `${where}: target_modules: ${JSON.stringify(item)} matches no linear layer of this model; its blocks have ${known.join(", ")}${near ? ` (did you mean ${near}?)` : ""}`,
      );
    }
    for (const { target } of matches) found.add(target);
  }
  return [...found];
}

/** Says targets as linears times layers. Throws UserError when different layers adapt different linears. */
export function gridOf(
  targets: readonly Target[],
  layerCount: number,
  where: string,
): Pick<LoraConfig, "targetModules" | "layersToTransform"> {
  const layers = [...new Set(targets.map(([layer]) => layer))].sort((a, b) => a - b);
  const targetModules = (Object.keys(LINEARS) as LinearName[]).filter((name) =>
    targets.some(([, linear]) => linear === name),
  );
  if (targets.length === 0) throw new UserError(`${where}: it adapts no layer of this model`);
  const last = layers[layers.length - 1]!;
  if (last >= layerCount) throw new UserError(`${where}: it adapts layer ${last}, this model has ${layerCount} layers`);
  if (targets.length !== layers.length * targetModules.length) {
    throw new UserError(
      `${where}: it adapts different linear layers in different blocks, which is not supported; merge it with PEFT first`,
    );
  }
  return { targetModules, ...(layers.length === layerCount ? {} : { layersToTransform: layers }) };
}

function layersOf(value: unknown, where: string): number[] | undefined {
  if (value === null || value === undefined) return undefined;
  const layers = Array.isArray(value) ? value : [value];
  if (layers.length > 0 && layers.every((n) => Number.isInteger(n) && n >= 0))
    return [...new Set(layers as number[])].sort((a, b) => a - b);
  throw new UserError(`${where}: layers_to_transform must be layer numbers, got ${JSON.stringify(value)}`);
}

function positive(value: unknown, key: string, where: string): number {
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw new UserError(`${where}: ${key} must be a number above 0, got ${JSON.stringify(value) ?? "nothing"}`);
}

function fraction(value: unknown, key: string, where: string): number {
  if (typeof value === "number" && value >= 0 && value < 1) return value;
  throw new UserError(`${where}: ${key} must be at least 0 and below 1, got ${JSON.stringify(value)}`);
}
