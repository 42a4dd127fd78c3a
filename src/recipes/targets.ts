import { matchTargets, withoutModules } from "../formats/peft/config.js";
import { checkWhole, refuseUnknownModules, withoutSaved } from "../formats/peft/saved.js";
import { type Blocks, LINEARS, type LinearName, linearNames, type ModelConfig } from "../models/config.js";
import {
  allTargets,
  type LoraTargets,
  linearLora,
  type ModulePatterns,
  modulePath,
  type Target,
  targetsOf,
} from "../models/lora-config.js";
import { modulePattern, wholeModulePattern } from "../models/module-pattern.js";
import type { WholeWeights } from "../models/whole-weights.js";
import { nearest, UserError } from "../tensor/index.js";

/** What a config says about which layers are adapted, in PEFT's words. */
export interface AskedTargets {
  readonly targetModules: string | readonly string[];
  readonly layersToTransform?: number | readonly number[] | null;
  readonly excludeModules?: string | readonly string[] | null;
}

/**
 * Resolves PEFT's ways of naming layers: a list of names (`q_proj`, `self_attn.q_proj`) or paths,
 * one name, a preset (`PRESETS`), or a regular expression that has to match whole module paths (`model.layers.3.self_attn.q_proj`); less
 * the layers that are not asked for and what is excluded. Throws UserError when a name or expression matches nothing, an index
 * is out of range, or nothing is left.
 */
export function resolveTargets(asked: AskedTargets, model: Blocks): LoraTargets {
  const { layersToTransform: indices = null, excludeModules = null } = asked;
  const chosen = indices === null ? undefined : layerIndices(indices, model.numHiddenLayers);
  const named = meant("lora.target_modules", asked.targetModules, model, chosen);
  const kept = excludeModules === null ? named : without(named, excludeModules, model);
  if (kept.length > 0) return targetsOf(kept, model);
  throw new UserError(
    "lora: no linear layer is left to be adapted; see lora.exclude_modules and lora.layers_to_transform",
  );
}

/** What a config says about what is trained whole beside the adapted layers. */
export interface AskedWhole {
  readonly modulesToSave: readonly string[] | null;
  readonly trainableTokenIndices: readonly number[] | null;
}

/**
 * The same with what is trained whole, in PEFT's words; layers in such modules carry no adapter. Throws UserError for what is not there or cannot
 * go together.
 */
export function resolveTrained(asked: AskedTargets & AskedWhole, model: ModelConfig): LoraTargets & WholeWeights {
  const { modulesToSave, trainableTokenIndices } = asked;
  refuseUnknownModules("lora.modules_to_save", modulesToSave ?? [], model);
  const named = resolveTargets(asked, model);
  const kept = withoutSaved(singleTargets(named, model), modulesToSave ?? []);
  if (kept.length === 0)
    throw new UserError("lora.modules_to_save: every adapted layer is among them; LoRA needs one that is not");
  const whole = {
    ...(modulesToSave ? { modulesToSave } : {}),
    ...(trainableTokenIndices ? { trainableTokenIndices } : {}),
  };
  checkWhole("lora", whole, kept, model);
  return { ...targetsOf(kept, model), ...whole };
}

/** Words for many linear layers at once, and how their paths in a block begin. */
const PRESETS: Readonly<Record<string, string>> = { "all-linear": "", attention: "self_attn.", mlp: "mlp." };

function meant(where: string, target: string | readonly string[], model: Blocks, chosen?: readonly number[]): Target[] {
  const [all, known] = [allTargets(model), linearNames(model)];
  if (typeof target !== "string") return matchTargets(target, model, where, chosen);
  const inside = all.filter(([layer]) => chosen?.includes(layer) ?? true);
  const preset = Object.hasOwn(PRESETS, target) ? PRESETS[target] : undefined;
  if (preset !== undefined) return inside.filter(([, name]) => LINEARS[name].startsWith(preset));
  if (known.includes(target as LinearName)) return inside.filter(([, name]) => name === target);
  const matches = wholeModulePattern(target, where);
  const found = inside.filter(([layer, name]) => matches(modulePath(layer, name)));
  if (found.length > 0) return found;
  throw new UserError(
    `${where}: '${target}' matches no module path; paths look like ${modulePath(0, known[0]!)} ` +
      `(layers 0 to ${model.numHiddenLayers - 1}; ${known.join(", ")})`,
  );
}

/** Modules outside the blocks, which no adapter is on: to exclude them is no mistake. */
const OUTSIDE = ["lm_head", "embed_tokens", "model.embed_tokens", "norm", "model.norm"];

function without(targets: readonly Target[], exclude: string | readonly string[], model: Blocks): Target[] {
  const where = "lora.exclude_modules";
  if (typeof exclude !== "string") {
    matchTargets(
      exclude.filter((item) => !OUTSIDE.includes(item)),
      model,
      where,
    );
    return withoutModules(targets, exclude);
  }
  const out = new Set(meant(where, exclude, model).map((target) => modulePath(...target)));
  return targets.filter((target) => !out.has(modulePath(...target)));
}

function layerIndices(indices: number | readonly number[], layers: number): number[] {
  const list = [...new Set(typeof indices === "number" ? [indices] : indices)].sort((a, b) => a - b);
  const outside = list.find((i) => i >= layers);
  if (outside === undefined) return list;
  throw new UserError(
    `lora.layers_to_transform: layer ${outside} is not there; this model has layers 0 to ${layers - 1}`,
  );
}

/** Every linear layer that carries an adapter. */
function singleTargets(targets: LoraTargets, model: Blocks): Target[] {
  const bare = { ...targets, r: 1, alpha: 1, dropout: 0, useRslora: false, init: "gaussian" } as const;
  return allTargets(model).filter(([layer, name]) => linearLora(bare, layer, name));
}

/** Throws UserError for a pattern that is none, or means no module that carries an adapter: it would do nothing. */
export function refuseIdlePatterns(where: string, patterns: ModulePatterns, targets: LoraTargets, model: Blocks): void {
  const paths = singleTargets(targets, model).map((target) => modulePath(...target));
  for (const key of Object.keys(patterns)) {
    if (paths.some(modulePattern(key, where))) continue;
    const near = nearest(key, targets.targetModules);
    throw new UserError(
      `${where}: '${key}' matches no adapted module; paths look like ${paths[0]} (${targets.targetModules.join(", ")})` +
        (near ? `; did you mean ${near}?` : ""),
    );
  }
}
