import { LINEARS, type LinearName } from "../models/config.js";
import { type ModulePatterns, modulePath } from "../models/lora-config.js";
import { modulePattern, wholeModulePattern } from "../models/module-pattern.js";
import { nearest, UserError } from "../tensor/index.js";

const NAMES = Object.keys(LINEARS) as LinearName[];

/** What a config's `target_modules` and `layers_to_transform` come to for a model of `layers` blocks. */
export interface ResolvedTargets {
  readonly targetModules: readonly LinearName[];
  /** Undefined: every layer. */
  readonly layersToTransform?: readonly number[];
}

/**
 * Resolves PEFT's ways of naming layers: a list of names (`q_proj`, `self_attn.q_proj`), one name, `all-linear`, or a regular
 * expression that has to match whole module paths (`model.layers.3.self_attn.q_proj`). Throws UserError when a name matches
 * nothing, an index is out of range, or a regular expression chooses different linear layers in different blocks.
 */
export function resolveTargets(
  target: string | readonly string[],
  indices: number | readonly number[] | null | undefined,
  layers: number,
): ResolvedTargets {
  const chosen = indices === null || indices === undefined ? undefined : layerIndices(indices, layers);
  if (target === "all-linear") return { targetModules: NAMES, layersToTransform: chosen };
  if (typeof target !== "string") return { targetModules: target.map(linearName), layersToTransform: chosen };
  if (NAMES.includes(target as LinearName)) return { targetModules: [target as LinearName], layersToTransform: chosen };
  const matched = matchPattern(target, layers);
  if (!chosen) return matched;
  const inside = matched.layersToTransform;
  return { ...matched, layersToTransform: inside ? chosen.filter((i) => inside.includes(i)) : chosen };
}

function linearName(entry: string): LinearName {
  const found = NAMES.find((name) => entry === name || LINEARS[name] === entry);
  if (found) return found;
  const near = nearest(entry, NAMES);
  throw new UserError(
    `lora.target_modules: '${entry}' matches no linear layer of this model; it has ${NAMES.join(", ")}` +
      (near ? ` (did you mean ${near}?)` : ""),
  );
}

function layerIndices(indices: number | readonly number[], layers: number): number[] {
  const list = [...new Set(typeof indices === "number" ? [indices] : indices)].sort((a, b) => a - b);
  const outside = list.find((i) => i >= layers);
  if (outside === undefined) return list;
  throw new UserError(
    `lora.layers_to_transform: layer ${outside} is not there; this model has layers 0 to ${layers - 1}`,
  );
}

function matchPattern(pattern: string, layers: number): ResolvedTargets {
  const matches = wholeModulePattern(pattern, "lora.target_modules");
  const perLayer = Array.from({ length: layers }, (_, i) =>
    NAMES.filter((name) => matches(`model.layers.${i}.${LINEARS[name]}`)),
  );
  const touched = perLayer.flatMap((names, i) => (names.length ? [i] : []));
  if (touched.length === 0) {
    throw new UserError(
      `lora.target_modules: '${pattern}' matches no module path; paths look like model.layers.0.self_attn.q_proj ` +
        `(layers 0 to ${layers - 1}; ${NAMES.join(", ")})`,
    );
  }
  const targetModules = perLayer[touched[0]!]!;
  if (touched.some((i) => perLayer[i]!.join() !== targetModules.join())) {
    throw new UserError(
      `lora.target_modules: '${pattern}' chooses different linear layers in different blocks, which is not supported; ` +
        `choose the same ones in each block and limit the blocks with lora.layers_to_transform`,
    );
  }
  return { targetModules, layersToTransform: touched.length === layers ? undefined : touched };
}

/** Throws UserError for a pattern that is none, or means no module that carries an adapter: it would do nothing. */
export function refuseIdlePatterns(
  where: string,
  patterns: ModulePatterns,
  { targetModules, layersToTransform }: ResolvedTargets,
  layers: number,
): void {
  const chosen = layersToTransform ?? Array.from({ length: layers }, (_, layer) => layer);
  const paths = chosen.flatMap((layer) => targetModules.map((name) => modulePath(layer, name)));
  for (const key of Object.keys(patterns)) {
    if (paths.some(modulePattern(key, where))) continue;
    const near = nearest(key, targetModules);
    throw new UserError(
      `${where}: '${key}' matches no adapted module; paths look like ${paths[0]} (${targetModules.join(", ")})` +
        (near ? `; did you mean ${near}?` : ""),
    );
  }
}
