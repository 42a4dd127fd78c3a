import {
  A,
  type AdapterInit,
  type AdapterSite,
  B,
  type Factors,
  INITS,
  type KindSite,
  kindOf,
  type Seen,
} from "../adapters/index.js";
import {
  adapterShapes,
  adapterSite,
  allTargets,
  EMBEDDING,
  HEAD,
  type LoraConfig,
  linearLora,
  type ModelConfig,
  modulePath,
  savedWeights,
  TOKEN_ROWS,
  weightShapes,
} from "../models/index.js";
import { f32, type HostTensor, random, type Shape, sizeOf, UserError } from "../tensor/index.js";

/** An adapter's start as `BlockTrainer` takes it. */
export interface StartValues {
  /** The trainable tensors, but for those that start at the norms of their weights. */
  readonly initial: ReadonlyMap<string, HostTensor>;
  /** What is taken out of the weights while training. */
  readonly fixed: ReadonlyMap<string, HostTensor>;
  /** The start, where it is a part of the base, as `start_A` and `start_B`: what is saved is without it. */
  readonly part: ReadonlyMap<string, HostTensor>;
  /** What is taken out of weights before they are held, by the weight's name. */
  readonly taken: ReadonlyMap<string, Taken>;
}

/** Factors of a layer whose scale B A is taken out of its weight. */
export interface Taken {
  readonly site: AdapterSite;
  readonly factors: Factors;
}

/** What starts may see of the base, each where it is asked for. */
export interface BaseValues {
  /** The values of a weight. */
  readonly read?: (weight: string) => Promise<Float32Array>;
  /** What values are in the place of a weight, as the base is held; where it is held as it is, it need not be told. */
  readonly held?: (weight: string, values: Float32Array) => Promise<Float32Array>;
  /** Rounds of LoftQ. Default 1. */
  readonly rounds?: number;
  /** Components of a module's inputs [r, in]. */
  readonly components?: (module: string) => Float32Array;
}

/**
 * A fresh adapter but for what it holds whole, drawn per layer from the run's seed as `lora.init` says. `base` is for starts that see it.
 * Throws UserError for a rank that is larger than a weight, where the start is made of that.
 */
export async function initialAdapter(
  config: ModelConfig,
  lora: LoraConfig,
  seed: number,
  base?: BaseValues,
): Promise<StartValues> {
  const [initial, part] = [new Map<string, HostTensor>(), new Map<string, HostTensor>()];
  const taken = new Map<string, Taken>();
  const init: AdapterInit = INITS[lora.init];
  for (const [layer, name] of allTargets(config)) {
    const own = linearLora(lora, layer, name);
    if (!own) continue;
    const module = modulePath(layer, name);
    const site = adapterSite(config, name, own);
    const { r, out, in: into } = site;
    if (init.seesWeight && r > Math.min(out, into))
      throw new UserError(
        `lora.r: ${lora.init} takes its start out of ${module}, which is [${out}, ${into}] and has no ${r} directions; take a smaller rank`,
      );
    const rng = random(seed, "init", `${module}.${A}`);
    const {
      a,
      b = new Float32Array(out * r),
      ...found
    } = await init.start(site, rng, await seenOf(init, module, base));
    initial.set(`${module}.${A}`, f32([r, into], a)).set(`${module}.${B}`, f32([out, r], b));
    for (const [name, shape] of zeroTensors(site)) initial.set(`${module}.${name}`, zeros(shape));
    if (init.residual) part.set(`${module}.start_A`, f32([r, into], a)).set(`${module}.start_B`, f32([out, r], b));
    if (found.taken) taken.set(`${module}.weight`, { site, factors: found.taken });
  }
  return { initial, part, taken, fixed: init.residual === "subtracted" ? part : new Map() };
}

async function seenOf(init: AdapterInit, module: string, base: BaseValues | undefined): Promise<Seen> {
  if (init.seesInputs) return { components: base!.components!(module) };
  if (!init.seesWeight) return {};
  const name = `${module}.weight`;
  const { read, held, rounds = 1 } = base!;
  return { weight: await read!(name), rounds, ...(held ? { held: (values) => held(name, values) } : {}) };
}

/**
 * Where what an adapter holds whole starts: at the base's values, which `read` gives by the weight's name; of a head that was tied, at the
 * embedding's.
 */
export async function wholeStart(
  config: ModelConfig,
  lora: LoraConfig,
  read: NonNullable<BaseValues["read"]>,
): Promise<Map<string, HostTensor>> {
  const initial = new Map<string, HostTensor>();
  for (const [name, shape] of savedWeights(lora, config))
    initial.set(name, f32(shape, await read(name === HEAD && config.tieWordEmbeddings ? EMBEDDING : name)));
  const { trainableTokenIndices: tokens } = lora;
  if (tokens) initial.set(TOKEN_ROWS, rowsOf(await read(EMBEDDING), tokens, config.hiddenSize));
  return initial;
}

const zeros = (shape: Shape): HostTensor => f32(shape, new Float32Array(sizeOf(shape)));

/** What a kind has beside A and B that starts at zero. */
function zeroTensors(site: KindSite): [name: string, shape: Shape][] {
  const { tensors, startsAtNorms } = kindOf(site.kind);
  return Object.entries(tensors(site)).filter(([name]) => name !== A && name !== B && name !== startsAtNorms);
}

/** Rows of a table [rows, width]. */
function rowsOf(table: Float32Array, rows: readonly number[], width: number): HostTensor {
  const data = new Float32Array(rows.length * width);
  for (const [i, row] of rows.entries()) data.set(table.subarray(row * width, (row + 1) * width), i * width);
  return f32([rows.length, width], data);
}

/** An adapter whose factors are zero: of the same shapes and cost as any. */
export function zeroAdapter(config: ModelConfig, lora: LoraConfig): Pick<StartValues, "initial" | "fixed"> {
  const [initial, fixed] = [new Map<string, HostTensor>(), new Map<string, HostTensor>()];
  const { residual }: AdapterInit = INITS[lora.init];
  const { startsAtNorms } = kindOf(lora.kind);
  for (const [name, shape] of adapterShapes(lora, config)) {
    if (!startsAtNorms || !name.endsWith(`.${startsAtNorms}`)) initial.set(name, zeros(shape));
    const factor = /lora_([AB])\.weight$/.exec(name)?.[1];
    if (residual === "subtracted" && factor)
      fixed.set(name.replace(`lora_${factor}.weight`, `start_${factor}`), zeros(shape));
  }
  return { initial, fixed };
}

/** Random weights as transformers initialises a Llama: normal with std 0.02, norms 1, biases 0. */
export function initialWeights(config: ModelConfig, seed: number): Map<string, HostTensor> {
  const tensors = new Map<string, HostTensor>();
  for (const [name, shape] of weightShapes(config)) {
    const data = new Float32Array(sizeOf(shape));
    if (name.endsWith("norm.weight")) data.fill(1);
    else if (!name.endsWith(".bias")) {
      const rng = random(seed, "init", name);
      for (let i = 0; i < data.length; i++) data[i] = 0.02 * rng.normal();
    }
    tensors.set(name, f32(shape, data));
  }
  return tensors;
}
