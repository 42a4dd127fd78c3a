import { type AdapterInit, type AdapterSite, INITS, type InitName, type KindName, kindOf } from "../adapters/index.js";
import type { Shape } from "../tensor/index.js";
import { type BlockPath, blockPath, parseBlockPath } from "./block-path.js";
import {
  type Blocks,
  LINEARS,
  type LinearName,
  linearAt,
  linearNames,
  linearShape,
  type ModelConfig,
} from "./config.js";
import { modulePattern } from "./module-pattern.js";
import { type WholeWeights, wholeShapes } from "./whole-weights.js";

/** A number for the modules that a key means (`modulePattern`); the first key that matches counts, as in PEFT. */
export type ModulePatterns = Readonly<Record<string, number>>;

/** Which linear layers carry an adapter. */
export type LoraTargets = Pick<LoraConfig, "targetModules" | "layersToTransform" | "excludedModules">;

/**
 * An adapter's kind, shape and scale, and what it holds whole. What it comes to for one linear layer is said by `linearLora` alone, which weights
 * it holds whole by `savedWeights`.
 */
export interface LoraConfig extends WholeWeights {
  /** Default "lora". */
  readonly kind?: KindName;
  /** Rank where no pattern says another. */
  readonly r: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly useRslora: boolean;
  readonly init: InitName;
  /** The linear layers that carry an adapter. */
  readonly targetModules: readonly LinearName[];
  /** The layer indices that carry adapters; undefined: every layer. */
  readonly layersToTransform?: readonly number[];
  /** Paths of the modules (`modulePath`) among these that carry none all the same; undefined: each of them carries one. */
  readonly excludedModules?: readonly string[];
  /** PEFT's `rank_pattern` and `alpha_pattern`: other ranks and alphas of single modules. */
  readonly rankPattern?: ModulePatterns;
  readonly alphaPattern?: ModulePatterns;
}

/** The adapter of one linear layer: its kind, its rank and the factor on BA. */
export interface LinearLora {
  /** Default "lora". */
  readonly kind?: KindName;
  /** The start is taken out of the weight (`AdapterInit.residual`). Default false. */
  readonly residual?: boolean;
  readonly r: number;
  readonly alpha: number;
  readonly scale: number;
}

/** The adapters of one block. */
export type BlockLora = Readonly<Partial<Record<LinearName, LinearLora>>>;

/** The factor on BA: alpha / r, or alpha / sqrt(r) with rsLoRA (Kalajdzievski 2023, eq. 4). */
export function loraScale(lora: Pick<LoraConfig, "alpha" | "r" | "useRslora">): number {
  return lora.alpha / (lora.useRslora ? Math.sqrt(lora.r) : lora.r);
}

/** The path by which PEFT knows a linear layer: `model.layers.3.self_attn.q_proj`. */
export const modulePath = (layer: number, name: LinearName): BlockPath => blockPath(layer, LINEARS[name]);

/** One linear layer: its block and its name. */
export type Target = readonly [layer: number, linear: LinearName];

/** The module that a path names: the opposite of `modulePath`; undefined for a path of none. */
export function parseModulePath(path: string): Target | undefined {
  const found = parseBlockPath(path);
  const name = linearAt(found?.inner);
  return name && [found!.layer, name];
}

/** Every linear layer of the blocks. */
export function allTargets(model: Blocks): Target[] {
  const names = linearNames(model);
  return Array.from({ length: model.numHiddenLayers }, (_, layer) =>
    names.map((name) => [layer, name] as const),
  ).flat();
}

/** Says single linear layers of a model's blocks as linears, layers, and the exceptions; at least one. */
export function targetsOf(targets: readonly Target[], model: Blocks): LoraTargets {
  const paths = new Set(targets.map(([layer, name]) => modulePath(layer, name)));
  const layers = [...new Set(targets.map(([layer]) => layer))].sort((a, b) => a - b);
  const targetModules = linearNames(model).filter((name) => targets.some((t) => t[1] === name));
  const excludedModules = layers
    .flatMap((layer) => targetModules.map((name) => modulePath(layer, name)))
    .filter((path) => !paths.has(path));
  return {
    targetModules,
    ...(layers.length === model.numHiddenLayers ? {} : { layersToTransform: layers }),
    ...(excludedModules.length > 0 ? { excludedModules } : {}),
  };
}

/** Rank, alpha and scale of one linear layer's adapter; undefined where it has none. */
export function linearLora(lora: LoraConfig, layer: number, name: LinearName): LinearLora | undefined {
  if (!lora.targetModules.includes(name) || !(lora.layersToTransform?.includes(layer) ?? true)) return undefined;
  const path = modulePath(layer, name);
  if (lora.excludedModules?.includes(path)) return undefined;
  const r = lookUp(lora.rankPattern, path) ?? lora.r;
  const alpha = lookUp(lora.alphaPattern, path) ?? lora.alpha;
  const { kind, init }: { kind?: KindName; init: InitName } = lora;
  const { residual }: AdapterInit = INITS[init];
  return {
    r,
    alpha,
    scale: loraScale({ r, alpha, useRslora: lora.useRslora }),
    ...(kind && kind !== "lora" ? { kind } : {}),
    ...(residual === "subtracted" ? { residual: true } : {}),
  };
}

/** A linear layer of this model with its adapter. */
export function adapterSite<T extends LinearLora>(config: ModelConfig, name: LinearName, lora: T): T & AdapterSite {
  const [out, into] = linearShape(config, name);
  return { ...lora, out, in: into };
}

/** Every tensor of an adapter on this model: name -> shape, layer by layer, then what it holds whole. */
export function adapterShapes(lora: LoraConfig, model: ModelConfig): Map<string, Shape> {
  const shapes = new Map<string, Shape>();
  for (const [layer, name] of allTargets(model)) {
    const own = linearLora(lora, layer, name);
    if (!own) continue;
    const tensors = kindOf(own.kind).tensors(adapterSite(model, name, own));
    for (const [tensor, shape] of Object.entries(tensors)) shapes.set(`${modulePath(layer, name)}.${tensor}`, shape);
  }
  for (const [name, shape] of wholeShapes(lora, model)) shapes.set(name, shape);
  return shapes;
}

/** The adapters of one block by linear layer; undefined where it has none. */
export function blockLora(lora: LoraConfig, layer: number): BlockLora | undefined {
  const found = lora.targetModules.flatMap((name) => {
    const linear = linearLora(lora, layer, name);
    return linear ? [[name, linear] as const] : [];
  });
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}

type Matcher = readonly [matches: (path: string) => boolean, value: number];
const compiled = new WeakMap<ModulePatterns, readonly Matcher[]>();

function lookUp(patterns: ModulePatterns | undefined, path: string): number | undefined {
  if (!patterns) return undefined;
  let matchers = compiled.get(patterns);
  if (!matchers) {
    matchers = Object.entries(patterns).map(([key, value]) => [modulePattern(key, "pattern"), value] as const);
    compiled.set(patterns, matchers);
  }
  return matchers.find(([matches]) => matches(path))?.[1];
}

/**
 * Says the ranks and alphas of single modules as PEFT does: `asked`, by default the commonest, as `r` and `alpha`, the others by patterns, a
 * linear layer's name where it is the same in every block, else the module's path.
 */
export function patternsOf(
  modules: readonly { readonly layer: number; readonly name: LinearName; readonly r: number; readonly alpha: number }[],
  asked?: Pick<LoraConfig, "r" | "alpha">,
): Pick<LoraConfig, "r" | "alpha" | "rankPattern" | "alphaPattern"> {
  const said = (value: (of: Pick<LoraConfig, "r" | "alpha">) => number) => {
    const usual = asked ? value(asked) : commonest(modules.map(value));
    const patterns: Record<string, number> = {};
    for (const name of new Set(modules.map((module) => module.name))) {
      const own = modules.filter((module) => module.name === name);
      const everywhere = new Set(own.map(value)).size === 1;
      for (const module of own) {
        if (value(module) !== usual) patterns[everywhere ? name : modulePath(module.layer, name)] = value(module);
      }
    }
    return { usual, patterns };
  };
  const [ranks, alphas] = [said(({ r }) => r), said(({ alpha }) => alpha)];
  return {
    r: ranks.usual,
    alpha: alphas.usual,
    ...(Object.keys(ranks.patterns).length > 0 ? { rankPattern: ranks.patterns } : {}),
    ...(Object.keys(alphas.patterns).length > 0 ? { alphaPattern: alphas.patterns } : {}),
  };
}

function commonest(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((a, b) => (b[1] > a[1] ? b : a))[0];
}
