import { kindOf } from "../adapters/index.js";
import { sameBase } from "../formats/base-hash.js";
import { type AdaptedModule, type Adapter, adaptedModule, wholeKeys } from "../formats/peft/adapter.js";
import { parseBlockPath } from "../models/block-path.js";
import { LINEARS, type LinearName } from "../models/config.js";
import { type LoraConfig, modulePath } from "../models/lora-config.js";
import { f32, type HostTensor, productSvd, type Random, random, UserError } from "../tensor/index.js";

/** PEFT's `combination_type`s. */
export const COMBINE_METHODS = ["linear", "cat", "svd", "ties", "dare_linear", "dare_ties", "magnitude_prune"] as const;
export type CombineMethod = (typeof COMBINE_METHODS)[number];

export interface CombineOptions {
  /** How the adapters become one, by PEFT's names: "linear", "svd", "ties", "dare_ties", ... */
  readonly method: CombineMethod;
  /** Share of values kept by ties, dare_* and magnitude_prune, above 0 to 1. No default: required there, refused elsewhere. */
  readonly density?: number;
  /** How ties and dare_ties elect a sign: by the sum of values or by counting signs. Default "total". */
  readonly majoritySign?: "total" | "frequency";
  /** Rank that svd cuts to. Default: the largest of the adapters'. */
  readonly rank?: number;
  /** Seed of dare_*'s draws. Default 0. */
  readonly seed?: number;
}

/** An adapter and the weight it comes in with; a negative one takes it out. */
export interface Weighted {
  readonly adapter: Adapter;
  readonly weight: number;
}

const PRUNING: ReadonlySet<CombineMethod> = new Set(["ties", "dare_linear", "dare_ties", "magnitude_prune"]);

/**
 * Makes one adapter of several as PEFT's `add_weighted_adapter` does (tuners/lora/model.py, utils/merge_utils.py). The result
 * has alpha = r and no patterns: its factors hold every scale, and zeros fill up what has a smaller rank. A layer that an
 * adapter does not have counts as zero there. cat and svd (at full rank) are the exact weighted sum of B A; the others combine
 * A and B each for itself, which is an approximation. Whether they fit one base is for `checkOneBase`. Throws UserError for ranks that a method cannot mix and options that it
 * does not have.
 */
export function combineAdapters(parts: readonly Weighted[], options: CombineOptions): Adapter {
  const method = parts.length === 1 ? "linear" : options.method;
  checkOptions(parts, options);
  const ranks = parts.map(({ adapter: { config } }) => Math.max(config.r, ...Object.values(config.rankPattern ?? {})));
  const largest = Math.max(...ranks);
  const r =
    method === "cat" ? ranks.reduce((n, x) => n + x, 0) : method === "svd" ? (options.rank ?? largest) : largest;
  const odd = ranks.find((rank) => rank !== ranks[0]);
  if (method !== "cat" && method !== "svd" && odd !== undefined)
    throw new UserError(`${method} needs adapters of one rank, these have ${ranks.join(", ")}; cat and svd mix ranks`);
  const config = combinedConfig(parts, r);
  const tensors = new Map<string, HostTensor>();
  for (const module of modulesOf(config, parts)) {
    const here = parts.flatMap(({ adapter, weight }) => {
      const own = adaptedModule(adapter, module);
      return own ? [{ ...own, weight: weight * own.scale }] : [];
    });
    const [a, b] = here.length === 0 ? nothing(module, r, parts) : combineModule(module, here, method, options, r);
    tensors.set(`${module}.lora_A.weight`, a);
    tensors.set(`${module}.lora_B.weight`, b);
  }
  return { config, tensors, base: parts[0]!.adapter.base };
}

function checkOptions(parts: readonly Weighted[], { method, density, rank, majoritySign }: CombineOptions): void {
  if (parts.length === 0) throw new UserError("combine needs at least one adapter");
  const wrong = parts.find(({ weight }) => !Number.isFinite(weight));
  if (wrong) throw new UserError(`weights must be numbers, got ${wrong.weight}`);
  const other = parts.map(({ adapter }) => kindOf(adapter.config.kind)).find(({ key }) => key !== undefined);
  if (other)
    throw new UserError(
      `combine mixes the A and B of LoRA adapters, and one of these is ${other.title}, which has more (${other.key}); merge it into the base, extract its difference, and combine that`,
    );
  const whole = parts.map(({ adapter }) => wholeKeys(adapter.config)).find(Boolean);
  if (whole)
    throw new UserError(
      `combine mixes the A and B of LoRA adapters, and one of these holds weights of its own (${whole}); merge it into the base`,
    );
  if (PRUNING.has(method)) {
    if (density === undefined) throw new UserError(`${method} needs a density: the share of values it keeps, e.g. 0.5`);
    if (!(density > 0 && density <= 1)) throw new UserError(`density must be above 0 and at most 1, got ${density}`);
  } else if (density !== undefined)
    throw new UserError(`${method} keeps every value; density is for ${[...PRUNING].join(", ")}`);
  if (rank !== undefined && method !== "svd")
    throw new UserError(`the rank of ${method} follows from its adapters; rank is for svd`);
  if (majoritySign !== undefined && !method.endsWith("ties"))
    throw new UserError(`${method} elects no sign; the majority sign is for ties and dare_ties`);
}

/** Throws UserError when adapters say that they were trained on different bases. */
export async function checkOneBase(parts: readonly Weighted[]): Promise<void> {
  const [first, ...others] = parts.map(({ adapter }) => adapter.base).filter(({ sha256 }) => sha256 !== undefined);
  for (const other of others) {
    if (!(await sameBase(first!, other)))
      throw new UserError("these adapters were trained on different bases, so they cannot be combined");
  }
}

function combinedConfig(parts: readonly Weighted[], r: number): LoraConfig {
  const configs = parts.map(({ adapter }) => adapter.config);
  const targetModules = (Object.keys(LINEARS) as LinearName[]).filter((name) =>
    configs.some((config) => config.targetModules.includes(name)),
  );
  const everywhere = configs.some((config) => config.layersToTransform === undefined);
  const layers = [...new Set(configs.flatMap((config) => config.layersToTransform ?? []))].sort((a, b) => a - b);
  const { dropout, init } = configs[0]!;
  return {
    r,
    alpha: r,
    dropout,
    useRslora: false,
    init,
    targetModules,
    ...(everywhere ? {} : { layersToTransform: layers }),
  };
}

/** Every module of the result: each linear in each layer that any adapter has. */
function modulesOf({ targetModules }: LoraConfig, parts: readonly Weighted[]): string[] {
  const names = parts.flatMap(({ adapter }) => [...adapter.tensors.keys()]);
  const layers = new Set(names.map((name) => parseBlockPath(name)!.layer));
  return [...layers].flatMap((layer) => targetModules.map((name) => modulePath(layer, name)));
}

/** Zeros for a module that no adapter has, though the grid of linears and layers includes it. */
function nothing(module: string, r: number, parts: readonly Weighted[]): [HostTensor, HostTensor] {
  const linear = parseBlockPath(module)!.inner;
  const like = (factor: string): readonly number[] => {
    for (const { adapter } of parts) {
      for (const [name, { shape }] of adapter.tensors)
        if (name.endsWith(`.${linear}.lora_${factor}.weight`)) return shape;
    }
    throw new RangeError(`${linear} is in no adapter`);
  };
  const [into, out] = [like("A")[1]!, like("B")[0]!];
  return [f32([r, into], new Float32Array(r * into)), f32([out, r], new Float32Array(out * r))];
}

/** A module of one adapter; `weight` is the whole factor on its BA. */
type Part = AdaptedModule & { readonly weight: number };

function combineModule(
  module: string,
  parts: readonly Part[],
  method: CombineMethod,
  options: CombineOptions,
  r: number,
): [HostTensor, HostTensor] {
  const [a, b] = [parts.map((part) => part.a), parts.map((part) => part.b)];
  const scales = parts.map(({ weight }) => weight);
  if (method === "cat") return concatenated(a, b, scales, r);
  if (method === "svd") return cut(a, b, scales, r);
  const ranks = parts.map((part) => part.r);
  if (new Set(ranks).size > 1)
    throw new UserError(
      `${method} needs adapters of one rank, at ${module} these have ${ranks.join(", ")}; use cat or svd`,
    );
  // The square root of a scale on each side; its sign on A alone.
  const root = scales.map((scale) => Math.fround(Math.sqrt(Math.abs(scale))));
  const signed = root.map((x, i) => (scales[i]! < 0 ? -x : x));
  const mix = (tensors: readonly HostTensor[], weights: readonly number[], letter: string) => {
    const rng = random(options.seed ?? 0, "combine", module, letter);
    return f32(
      tensors[0]!.shape,
      mixed(
        tensors.map(({ data }) => data as Float32Array),
        weights,
        method,
        options,
        rng,
      ),
    );
  };
  return filled(mix(a, signed, "A"), mix(b, root, "B"), r);
}

/** Factors of a smaller rank with rows and columns of zeros up to rank r. */
function filled(a: HostTensor, b: HostTensor, r: number): [HostTensor, HostTensor] {
  return a.shape[0] === r ? [a, b] : concatenated([a], [b], [1], r);
}

function concatenated(
  a: readonly HostTensor[],
  b: readonly HostTensor[],
  scales: readonly number[],
  r: number,
): [HostTensor, HostTensor] {
  const [into, out] = [a[0]!.shape[1]!, b[0]!.shape[0]!];
  const [rows, columns] = [new Float32Array(r * into), new Float32Array(out * r)];
  let first = 0;
  for (const [i, { data, shape }] of a.entries()) {
    const own = shape[0]!;
    rows.set(
      (data as Float32Array).map((x) => x * scales[i]!),
      first * into,
    );
    const values = b[i]!.data as Float32Array;
    for (let o = 0; o < out; o++) columns.set(values.subarray(o * own, (o + 1) * own), o * r + first);
    first += own;
  }
  return [f32([r, into], rows), f32([out, r], columns)];
}

/** The best adapter of rank r for the weighted sum of products: A = V^T, B = U S. */
function cut(
  a: readonly HostTensor[],
  b: readonly HostTensor[],
  scales: readonly number[],
  r: number,
): [HostTensor, HostTensor] {
  const [into, out] = [a[0]!.shape[1]!, b[0]!.shape[0]!];
  const right = a.flatMap(({ data, shape }) =>
    Array.from({ length: shape[0]! }, (_, k) =>
      Float64Array.from(data.subarray(k * into, (k + 1) * into) as Float32Array),
    ),
  );
  const left = b.flatMap(({ data, shape }, i) =>
    Array.from({ length: shape[1]! }, (_, k) =>
      Float64Array.from({ length: out }, (__, o) => scales[i]! * (data as Float32Array)[o * shape[1]! + k]!),
    ),
  );
  return factorsOf(productSvd(left, right), r, out, into);
}

/** An adapter's two factors out of singular vectors: A = V^T, B = U S, zeros past the rank that there is. */
export function factorsOf(
  { u, s, v }: { u: readonly Float64Array[]; s: Float64Array; v: readonly Float64Array[] },
  r: number,
  out: number,
  into: number,
): [HostTensor, HostTensor] {
  const [rows, columns] = [new Float32Array(r * into), new Float32Array(out * r)];
  for (let k = 0; k < Math.min(r, s.length); k++) {
    rows.set(v[k]!, k * into);
    for (let o = 0; o < out; o++) columns[o * r + k] = u[k]![o]! * s[k]!;
  }
  return [f32([r, into], rows), f32([out, r], columns)];
}

function mixed(
  values: readonly Float32Array[],
  weights: readonly number[],
  method: CombineMethod,
  { density = 1, majoritySign = "total" }: CombineOptions,
  rng: Random,
): Float32Array {
  const pruned =
    method === "linear" || density >= 1
      ? values
      : values.map((x) => (method.startsWith("dare") ? dropped(x, density, rng) : strongest(x, density)));
  const elect = method === "ties" || method === "dare_ties";
  const result = new Float32Array(values[0]!.length);
  for (let i = 0; i < result.length; i++) {
    const here = pruned.map((x) => x[i]!);
    const ballot = majoritySign === "total" ? here : here.map(Math.sign);
    const sign = ballot.reduce((sum, x) => Math.fround(sum + x), 0) >= 0 ? 1 : -1;
    let sum = 0;
    let kept = 0;
    for (const [p, x] of here.entries()) {
      if (elect && Math.sign(x) !== sign) continue;
      sum += x * weights[p]!;
      kept++;
    }
    result[i] = elect ? sum / Math.max(kept, 1) : sum;
  }
  return result;
}

/** Keeps the share `density` of values that are largest in magnitude (TIES, Yadav et al. 2023: "trim"). */
function strongest(values: Float32Array, density: number): Float32Array {
  const kept = Math.floor(density * values.length);
  const order = Array.from(values.keys()).sort((i, j) => Math.abs(values[j]!) - Math.abs(values[i]!));
  const result = new Float32Array(values.length);
  for (const i of order.slice(0, kept)) result[i] = values[i]!;
  return result;
}

/** Keeps each value with probability `density` and divides it by that (DARE, Yu et al. 2023). */
function dropped(values: Float32Array, density: number, rng: Random): Float32Array {
  return values.map((x) => (rng.uniform() < density ? x / density : 0));
}
