import { type Adapter, adaptedModules } from "../formats/peft/adapter.js";
import { parseBlockPath } from "../models/block-path.js";
import { LINEARS, type LinearName, linearNames, linearShape, weightShapes } from "../models/config.js";
import { type LoraConfig, linearLora, type ModulePatterns, modulePath, patternsOf } from "../models/lora-config.js";
import { f32, type HostTensor, random, truncatedSvd, UserError } from "../tensor/index.js";
import { adapterBase } from "../weights/adapter-base.js";
import type { OpenModel } from "../weights/model-folder.js";
import { factorsOf } from "./combine.js";

export interface ExtractOptions {
  /** Rank of the adapter. */
  readonly r: number;
  /** Other ranks of single modules, as PEFT's `rank_pattern`. Default: none. */
  readonly rankPattern?: ModulePatterns;
  /** Default: every linear layer. */
  readonly targetModules?: readonly LinearName[];
  /** Seed of the random projections, where a layer is too wide for an exact decomposition. Default 0. */
  readonly seed?: number;
  /** Told of every layer that is done. */
  readonly onLayer?: (done: number, total: number, name: string) => void;
}

export interface Extraction {
  readonly adapter: Adapter;
  /** Share of the difference's energy (squared Frobenius norm) that ranks 1, 2, 4, ... up to r keep, over all layers. */
  readonly energy: readonly { readonly rank: number; readonly share: number }[];
  /** Share kept of each adapted weight's difference; 1 where there is none. */
  readonly layers: readonly { readonly name: string; readonly share: number }[];
  /** Weights that differ, but are no adapted linear layer: their relative difference is lost. */
  readonly lost: readonly { readonly name: string; readonly relative: number }[];
}

/**
 * The LoRA adapter that turns `base` into `tuned` as far as rank r goes: the truncated singular value decomposition of each
 * linear layer's difference, B = U S, A = V^T, alpha = r. Memory is two weights and r + 10 vectors. Throws UserError when
 * the two have different shapes or do not differ.
 */
export async function extractAdapter(base: OpenModel, tuned: OpenModel, options: ExtractOptions): Promise<Extraction> {
  const { r, targetModules = linearNames(base.config), seed = 0 } = options;
  checkPair(base, tuned, options);
  const config = extractedConfig(options, targetModules);
  const tensors = new Map<string, HostTensor>();
  const layers: { name: string; share: number }[] = [];
  const lost: { name: string; relative: number }[] = [];
  const kept = new Float64Array(Math.max(r, ...Object.values(options.rankPattern ?? {})));
  let total = 0;
  const names = [...weightShapes(base.config).keys()];
  for (const [done, name] of names.entries()) {
    const difference = await differenceOf(base, tuned, name);
    const linear = targetModules.find((key) => name.endsWith(`.${LINEARS[key]}.weight`));
    if (!linear) {
      if (difference.norm > 0) lost.push({ name, relative: difference.norm / difference.baseNorm });
    } else {
      const [out, into] = linearShape(base.config, linear);
      const rank = linearLora(config, parseBlockPath(name)!.layer, linear)!.r;
      const parts = await truncatedSvd(difference.values, [out, into], rank, random(seed, "extract", name));
      const [a, b] = factorsOf(parts, rank, out, into);
      const module = name.replace(/\.weight$/, "");
      tensors.set(`${module}.lora_A.weight`, a);
      tensors.set(`${module}.lora_B.weight`, b);
      const squares = Array.from({ length: rank }, (_, k) => (parts.s[k] ?? 0) ** 2);
      squares.forEach((square, k) => {
        kept[k]! += square;
      });
      const all = difference.norm ** 2;
      total += all;
      layers.push({ name, share: all === 0 ? 1 : Math.min(1, squares.reduce((sum, x) => sum + x, 0) / all) });
    }
    options.onLayer?.(done + 1, names.length, name);
  }
  if (total === 0)
    throw new UserError(`${tuned.path}: its linear layers are those of ${base.path}; there is nothing to extract`);
  return {
    adapter: { config, tensors, base: await adapterBase(base) },
    energy: energyCurve(kept, total),
    layers,
    lost,
  };
}

/** alpha = r everywhere, so that the factors are the whole update. */
function extractedConfig({ r, rankPattern }: ExtractOptions, targetModules: readonly LinearName[]): LoraConfig {
  return {
    r,
    alpha: r,
    dropout: 0,
    useRslora: false,
    init: "kaiming",
    targetModules: [...targetModules],
    ...(rankPattern ? { rankPattern, alphaPattern: rankPattern } : {}),
  };
}

function checkPair(base: OpenModel, tuned: OpenModel, { r, rankPattern = {} }: ExtractOptions): void {
  const wrong = [r, ...Object.values(rankPattern)].find((rank) => !Number.isInteger(rank) || rank < 1);
  if (wrong !== undefined) throw new UserError(`the rank must be a whole number above 0, got ${wrong}`);
  const [one, two] = [weightShapes(base.config), weightShapes(tuned.config)];
  for (const [name, shape] of one) {
    const other = two.get(name);
    if (other?.join() === shape.join()) continue;
    throw new UserError(
      `${tuned.path}: ${name} is ${other ? `[${other}]` : "missing"}, in ${base.path} it is [${shape}]; both must be of one shape`,
    );
  }
  const extra = [...two.keys()].find((name) => !one.has(name));
  if (extra)
    throw new UserError(`${tuned.path}: it has ${extra}, which ${base.path} has not; both must be of one shape`);
}

async function differenceOf(
  base: OpenModel,
  tuned: OpenModel,
  name: string,
): Promise<{ values: Float32Array; norm: number; baseNorm: number }> {
  const [values, from] = [await tuned.tensors.read(name), await base.tensors.read(name)];
  let [square, baseSquare] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    const difference = values[i]! - from[i]!;
    values[i] = difference;
    square += difference * difference;
    baseSquare += from[i]! * from[i]!;
  }
  if (!Number.isFinite(square)) throw new UserError(`${tuned.path}: ${name} holds NaN or infinity`);
  return { values, norm: Math.sqrt(square), baseNorm: Math.sqrt(baseSquare) };
}

function energyCurve(kept: Float64Array, total: number): { rank: number; share: number }[] {
  const ranks = new Set([kept.length]);
  for (let rank = 1; rank < kept.length; rank *= 2) ranks.add(rank);
  return [...ranks]
    .sort((a, b) => a - b)
    .map((rank) => ({ rank, share: Math.min(1, kept.slice(0, rank).reduce((sum, x) => sum + x, 0) / total) }));
}

/** An extracted adapter cut to a lower rank: its leading directions, which are the best there are at that rank. */
export function leadingDirections(adapter: Adapter, rank: number): Adapter {
  const modules = adaptedModules(adapter);
  const cut = modules.map((module) => ({ ...module, r: Math.min(rank, module.r), alpha: Math.min(rank, module.r) }));
  const tensors = new Map<string, HostTensor>();
  for (const { layer, name, r, a, b } of cut) {
    const [into, out, full] = [a.shape[1]!, b.shape[0]!, a.shape[0]!];
    const columns = Float32Array.from(
      { length: out * r },
      (_, i) => b.data[Math.floor(i / r) * full + (i % r)] as number,
    );
    tensors.set(
      `${modulePath(layer, name)}.lora_A.weight`,
      f32([r, into], (a.data as Float32Array).slice(0, r * into)),
    );
    tensors.set(`${modulePath(layer, name)}.lora_B.weight`, f32([out, r], columns));
  }
  const { rankPattern: _, alphaPattern: __, ...rest } = adapter.config;
  return { ...adapter, config: { ...rest, ...patternsOf(cut) }, tensors };
}
