import { type AdapterInit, INITS, type InitName, KIND_KEYS, kindAsked } from "../../adapters/index.js";
import { type Blocks, linearNames } from "../../models/config.js";
import {
  allTargets,
  type LoraConfig,
  type LoraTargets,
  type ModulePatterns,
  modulePath,
  type Target,
  targetsOf,
} from "../../models/lora-config.js";
import { modulePattern } from "../../models/module-pattern.js";
import type { WholeWeights } from "../../models/whole-weights.js";
import { nearest, UserError } from "../../tensor/index.js";
import { textName, wholeName } from "../hf/text-part.js";
import { type JsonObject, shown } from "../json.js";

/** What an `adapter_config.json` says, before it is held against the tensors. */
export interface PeftConfig {
  readonly lora: Omit<LoraConfig, keyof LoraTargets>;
  /** `target_modules`: names or paths of modules, or `ALL_LINEAR`; undefined when a regular expression says which. */
  readonly targetModules?: readonly string[] | typeof ALL_LINEAR;
  /** `exclude_modules`: names or paths; "expression" when a regular expression says which. */
  readonly excludeModules?: readonly string[] | "expression";
  readonly layersToTransform?: readonly number[];
  readonly baseModel?: string;
}

/** Keys that change nothing here, whatever they say. */
const IGNORED = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "eva_config",
  "fan_in_fan_out", // PEFT sets it aside for layers of this kind
  "inference_mode",
  "loftq_config", // how a base was changed, which is saved beside it: of no use unless init_lora_weights asks to change one again
  "megatron_core",
  "peft_version",
  "qalora_group_size",
  "revision",
  "runtime_config",
]);
const READ = new Set([
  "alpha_pattern",
  "bias",
  "exclude_modules",
  "init_lora_weights",
  "layers_pattern",
  "layers_to_transform",
  "lora_alpha",
  "lora_dropout",
  "modules_to_save",
  "peft_type",
  "r",
  "rank_pattern",
  "target_modules",
  "task_type",
  "trainable_token_indices",
  "use_rslora",
  ...KIND_KEYS.map(([key]) => key),
]);

/** PEFT's word for every linear layer of the blocks. */
export const ALL_LINEAR = "all-linear";

/** Which biases PEFT trained: of layers that have none, none. Those it saved are tensors that no configuration calls for. */
const BIASES: readonly unknown[] = ["none", "all", "lora_only"];

/** PEFT's `LoraConfig` where a configuration names no rank or alpha. */
export const DEFAULT = { r: 8, lora_alpha: 8 };

/** What to do with an adapter whose base PEFT changes anew each time it loads it: PEFT converts none of these. */
const UNCHANGED =
  "load it with PEFT, save the changed base (model.unload().save_pretrained), take that as base and set init_lora_weights to true";

/** PEFT's names of starts that leave the base as it is, so that the adapter alone is the whole change. */
const STARTS = new Map(
  (Object.entries(INITS) as [InitName, AdapterInit][]).flatMap(([name, { peft }]) =>
    peft.map((value) => [value, name] as const),
  ),
);

/**
 * Reads PEFT's `adapter_config.json` (parsed). Throws UserError, by name, for everything that would change the result and
 * is not supported: LoRA's own biases, other adapter types, and keys it does not know unless they are
 * off (null, false, empty).
 */
export function readPeftConfig(json: JsonObject, where: string): PeftConfig {
  const fail = (what: string) => new UserError(`${where}: ${what}`);
  if (json.peft_type !== "LORA")
    throw fail(`peft_type ${JSON.stringify(json.peft_type)} is not supported (supported: LORA)`);
  if ((json.task_type ?? "CAUSAL_LM") !== "CAUSAL_LM")
    throw fail(`task_type ${JSON.stringify(json.task_type)} is not supported (supported: CAUSAL_LM)`);
  if (!BIASES.includes(json.bias ?? "none"))
    throw fail(`bias = ${JSON.stringify(json.bias)} is not known (known: ${BIASES.join(", ")})`);
  for (const [key, value] of Object.entries(json)) {
    if (!IGNORED.has(key) && !READ.has(key) && !isOff(value)) {
      throw fail(`${key} = ${shown(value)} is not supported; merge this adapter with PEFT first`);
    }
  }
  const r = positive(json.r ?? DEFAULT.r, "r", where);
  if (!Number.isInteger(r)) throw fail(`r must be a whole number, got ${r}`);
  const init = STARTS.get(json.init_lora_weights ?? true);
  if (!init) {
    const way = json.init_lora_weights === "loftq" ? UNCHANGED : "convert it with PEFT first";
    throw fail(
      `init_lora_weights ${JSON.stringify(json.init_lora_weights)} changes the base's weights, so this adapter alone is not the model; ${way}`,
    );
  }
  const rankPattern = patterns(json, "rank_pattern", where);
  const broken = Object.entries(rankPattern ?? {}).find(([, rank]) => !Number.isInteger(rank));
  if (broken) throw fail(`rank_pattern: ${JSON.stringify(broken[0])} must be a whole number, got ${broken[1]}`);
  const alphaPattern = patterns(json, "alpha_pattern", where);
  const layers = layersOf(json.layers_to_transform, where);
  const target = json.target_modules;
  const targetModules =
    target === "all-linear" ? ALL_LINEAR : names(target ?? ["q_proj", "v_proj"], "target_modules", where);
  const exclude = isOff(json.exclude_modules ?? null)
    ? undefined
    : (names(json.exclude_modules, "exclude_modules", where) ?? "expression");
  const kind = kindAsked(json);
  return {
    lora: {
      ...(kind ? { kind } : {}),
      r,
      alpha: positive(json.lora_alpha ?? DEFAULT.lora_alpha, "lora_alpha", where),
      dropout: (json.lora_dropout ?? null) === null ? 0 : fraction(json.lora_dropout, "lora_dropout", where),
      useRslora: json.use_rslora === true,
      init,
      ...(rankPattern ? { rankPattern } : {}),
      ...(alphaPattern ? { alphaPattern } : {}),
      ...wholeOf(json, where),
    },
    ...(layers ? { layersToTransform: layers } : {}),
    ...(targetModules ? { targetModules } : {}),
    ...(exclude ? { excludeModules: exclude } : {}),
    ...(typeof json.base_model_name_or_path === "string" ? { baseModel: baseOf(json) } : {}),
  };
}

/** What it says is trained whole. */
function wholeOf(json: JsonObject, where: string): WholeWeights {
  const [saved, tokens] = [json.modules_to_save ?? null, json.trainable_token_indices ?? null];
  const named = (value: unknown) => {
    const entries = Object.entries(value as JsonObject);
    const [[key, ids] = []] = entries;
    if (entries.length === 1 && /(^|\.)embed_tokens$/.test(key!)) return ids;
    throw new UserError(
      `${where}: trainable_token_indices of ${shown(Object.keys(value as JsonObject))} are not supported (supported: embed_tokens); merge this adapter with PEFT first`,
    );
  };
  const ids = isOff(tokens) ? undefined : Array.isArray(tokens) ? tokens : named(tokens);
  const isIds = (value: unknown): value is number[] =>
    Array.isArray(value) && value.every((id) => Number.isInteger(id) && id >= 0);
  if (ids !== undefined && !isIds(ids))
    throw new UserError(`${where}: trainable_token_indices must be token ids, got ${shown(ids)}`);
  const items = isOff(saved) ? undefined : names(saved, "modules_to_save", where);
  if (!isOff(saved) && items === undefined)
    throw new UserError(`${where}: modules_to_save must be a list of names, got ${shown(saved)}`);
  return {
    ...(items ? { modulesToSave: items.map(textName) } : {}),
    ...(ids ? { trainableTokenIndices: ids } : {}),
  };
}

/** A base of the hub at a revision: PEFT keeps the two apart. */
const REVISED = /^([\w.-]+\/[\w.-]+)@(.+)$/;

function baseOf({ base_model_name_or_path: name, revision }: JsonObject): string {
  const revised = `${name}@${revision}`;
  return revision && revision !== "main" && REVISED.test(revised) ? revised : `${name}`;
}

/**
 * Writes `adapter_config.json` with the keys that PEFT has had since 0.7, and no newer ones but that of the adapter's kind. Where different blocks adapt
 * different linear layers, or the base is a part of one that also sees (`inWhole`), target_modules is the list of `paths`, those of its modules; in
 * the latter modules_to_save is that of `saved` too.
 */
export function writePeftConfig(
  lora: LoraConfig,
  baseModel: string | undefined,
  paths: readonly string[],
  { inWhole = false, saved = [] }: { readonly inWhole?: boolean; readonly saved?: readonly string[] } = {},
): JsonObject {
  const each = inWhole || lora.excludedModules !== undefined;
  const keyed = (patterns: ModulePatterns = {}) =>
    Object.fromEntries(Object.entries(patterns).map(([key, value]) => [inWhole ? wholeName(key) : key, value]));
  const [, name = baseModel, revision] = REVISED.exec(baseModel ?? "") ?? [];
  return {
    alpha_pattern: keyed(lora.alphaPattern),
    auto_mapping: null,
    base_model_name_or_path: name ?? null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: lora.kind === "biased" ? true : INITS[lora.init].peft[0], // PEFT takes no other beside lora_bias
    layers_pattern: null,
    layers_to_transform: lora.layersToTransform && !each ? [...lora.layersToTransform] : null,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    modules_to_save: lora.modulesToSave ? [...(inWhole ? saved : lora.modulesToSave)] : null,
    peft_type: "LORA",
    r: lora.r,
    rank_pattern: keyed(lora.rankPattern),
    revision: revision ?? null,
    target_modules: each ? [...paths] : [...lora.targetModules],
    task_type: "CAUSAL_LM",
    ...Object.fromEntries(KIND_KEYS.flatMap(([key, kind]) => (lora.kind === kind ? [[key, true]] : []))),
    use_rslora: lora.useRslora,
    ...(lora.trainableTokenIndices ? { trainable_token_indices: [...lora.trainableTokenIndices] } : {}),
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
    return [textName(name), positive(number, `${key}: ${JSON.stringify(name)}`, where)] as const;
  });
  return Object.fromEntries(entries);
}

function isOff(value: unknown): boolean {
  if (value === null || value === false || value === "") return true;
  return typeof value === "object" && Object.keys(value as object).length === 0;
}

/** Names or paths; undefined: the value is one text, a regular expression. */
function names(value: unknown, key: string, where: string): string[] | undefined {
  if (typeof value === "string") return undefined;
  if (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "string")) return value;
  throw new UserError(`${where}: ${key} must be names, got ${JSON.stringify(value)}`);
}

/** Whether PEFT means a module by a name or path in a list: its path, or the end of it. */
const isMeant = (path: string, item: string): boolean => path === item || path.endsWith(`.${item}`);

/**
 * The linear layers that a list of modules stands for, matched as PEFT does; `layers` limits all but whole paths. Throws
 * UserError, beginning with `where`, that names an entry that matches none.
 */
export function matchTargets(
  items: readonly string[],
  model: Blocks,
  where: string,
  layers?: readonly number[],
): Target[] {
  const all = allTargets(model);
  const found = new Set<Target>();
  for (const item of items) {
    const matches = all.filter(([layer, name]) => isMeant(modulePath(layer, name), item));
    if (matches.length === 0) {
      const known = linearNames(model);
      const near = nearest(item, known);
      throw new UserError(
        `${where}: ${JSON.stringify(item)} matches no linear layer of this model; its blocks have ${known.join(", ")}${near ? ` (did you mean ${near}?)` : ""}`,
      );
    }
    for (const target of matches) {
      const inside = layers?.includes(target[0]) ?? true;
      if (inside || modulePath(...target) === item) found.add(target);
    }
  }
  return all.filter((target) => found.has(target));
}

/** Targets without those that a list like PEFT's `exclude_modules` means. */
export function withoutModules(targets: readonly Target[], items: readonly string[]): Target[] {
  return targets.filter(([layer, name]) => !items.some((item) => isMeant(modulePath(layer, name), item)));
}

/** Throws UserError when there are no targets, or one is in a block that the model has not. */
export function checkedTargets(targets: readonly Target[], model: Blocks, where: string): LoraTargets {
  const { numHiddenLayers: layerCount } = model;
  if (targets.length === 0) throw new UserError(`${where}: it adapts no layer of this model`);
  const last = Math.max(...targets.map(([layer]) => layer));
  if (last >= layerCount) throw new UserError(`${where}: it adapts layer ${last}, this model has ${layerCount} layers`);
  return targetsOf(targets, model);
}

function layersOf(value: unknown, where: string): number[] | undefined {
  if (value === null || value === undefined) return undefined;
  const layers = Array.isArray(value) ? value : [value];
  if (layers.length > 0 && layers.every((n) => Number.isInteger(n) && n >= 0))
    return [...new Set(layers as number[])].sort((a, b) => a - b);
  throw new UserError(`${where}: layers_to_transform must be layer numbers, got ${shown(value)}`);
}

function positive(value: unknown, key: string, where: string): number {
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw new UserError(`${where}: ${key} must be a number above 0, got ${shown(value)}`);
}

function fraction(value: unknown, key: string, where: string): number {
  if (typeof value === "number" && value >= 0 && value < 1) return value;
  throw new UserError(`${where}: ${key} must be at least 0 and below 1, got ${shown(value)}`);
}
