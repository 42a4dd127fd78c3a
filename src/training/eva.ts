import type { MicroBatch, Sample } from "../data/sample.js";
import {
  allTargets,
  type LinearName,
  type LoraConfig,
  linearInputs,
  linearLora,
  linearShape,
  modulePath,
  patternsOf,
  type Target,
  targetsOf,
  weightName,
} from "../models/index.js";
import { type Device, type Program, tensor, type View } from "../runtime/index.js";
import { IncrementalPca, random, UserError } from "../tensor/index.js";
import { layOut } from "./batch-layout.js";
import { createContext, disposeContext, type PassContext, type TrainerModel } from "./pass-context.js";
import { runBlocks } from "./pass-runs.js";

/** PEFT's `EvaConfig`. */
export interface EvaSettings {
  /** A layer gets at most so many times its rank; 1: every layer keeps its own. Default 2. */
  readonly rho: number;
  /** Components that a batch turns by a cosine of no less than this have converged. Default 0.99. */
  readonly tau: number;
  /** Only tokens that are learned count. Default true. */
  readonly useLabelMask: boolean;
  /** Components are divided by the root of their singular value. Default false. */
  readonly whiten: boolean;
  /** Alpha follows the rank that a layer gets, so that its scale stays. Default true. */
  readonly adjustScalingFactors: boolean;
}

/** What the rows say of an adapter: its ranks, and the components of each layer's inputs, by module path [r, in]. */
export interface EvaStart {
  readonly lora: LoraConfig;
  readonly components: ReadonlyMap<string, Float32Array>;
  /** Batches that were looked at, and whether all components had converged by then. */
  readonly batches: number;
  readonly converged: boolean;
}

/** Batches after which components are taken as they are. */
const MOST_BATCHES = 256;

/** What one or several linear layers of a block are given. */
interface Input {
  readonly layer: number;
  /** Those of them that are adapted; the first one's name is the input's. */
  readonly readers: readonly LinearName[];
  readonly pca: IncrementalPca;
  /** Components that may be wanted. */
  readonly most: number;
  converged: readonly boolean[];
}

/**
 * Explained Variance Adaptation (Paischer et al. 2024), as PEFT's `initialize_lora_eva_weights` computes it: the principal components of what
 * each adapted layer is given on micro-batches of the training rows, until they turn no more; the ranks of all layers together go to the
 * components that explain most. `next` gives the micro-batches. Throws UserError where no micro-batch has enough tokens.
 */
export async function evaStart(
  model: TrainerModel,
  lora: LoraConfig,
  settings: EvaSettings,
  { seed, next }: { readonly seed: number; readonly next: () => readonly MicroBatch[] },
): Promise<EvaStart> {
  const targets = allTargets(model.config).flatMap((target) => {
    const own = linearLora(lora, ...target);
    return own ? [{ target, ...own }] : [];
  });
  const inputs = inputsOf(model, targets, settings, seed);
  const context = createContext(model, { trainables: { kind: "none" }, adapter: () => undefined });
  const reader = new InputReader(context, settings.useLabelMask);
  try {
    const budget = targets.reduce((sum, { r }) => sum + r, 0);
    const { ranks, ...found } = await untilSettled(
      inputs,
      budget,
      (batch, open) => reader.read(batch, open, settings.tau),
      next,
    );
    refuseTooFew(inputs, settings);
    return { ...adapterOf(model, lora, targets, inputs, ranks, settings), ...found };
  } finally {
    reader.dispose();
    disposeContext(context);
  }
}

/** Has micro-batches read for the inputs whose components are not settled, until none is left, and shares out the ranks anew after each. */
async function untilSettled(
  inputs: readonly Input[],
  budget: number,
  read: (batch: MicroBatch, open: readonly Input[]) => Promise<void>,
  next: () => readonly MicroBatch[],
) {
  let ranks = new Map<string, number>(
    inputs.flatMap(({ layer, readers, most }) => readers.map((name) => [modulePath(layer, name), most])),
  );
  const waiting: MicroBatch[] = [];
  for (let batches = 0; ; batches++) {
    const open = inputs.filter((input) => !isSettled(input, ranks));
    if (open.length === 0 || batches === MOST_BATCHES) return { ranks, batches, converged: open.length === 0 };
    while (waiting.length === 0) waiting.push(...next());
    await read(waiting.shift()!, open);
    if (inputs.every(({ pca }) => pca.components.length > 0)) ranks = sharedOut(inputs, budget);
  }
}

function refuseTooFew(inputs: readonly Input[], { useLabelMask }: EvaSettings): void {
  const missing = inputs.find(({ pca }) => pca.components.length === 0);
  if (!missing) return;
  throw new UserError(
    `lora.init: eva wants ${missing.most} components of what ${modulePath(missing.layer, missing.readers[0]!)} is given, and no micro-batch has so many ${useLabelMask ? "tokens that are learned" : "tokens"}; take a larger batch_size, a smaller lora.r or lora.eva_config.rho, or lora.eva_config.use_label_mask: false`,
  );
}

interface Targeted {
  readonly target: Target;
  readonly r: number;
  readonly alpha: number;
}

/** What the adapted layers are given, each value once: layers that read the same share its components. */
function inputsOf({ config }: TrainerModel, targets: readonly Targeted[], { rho }: EvaSettings, seed: number): Input[] {
  const { readers: all } = linearInputs(config, 1);
  return Array.from({ length: config.numHiddenLayers }, (_, layer) =>
    [...all.values()].flatMap((names) => {
      const own = targets.filter(({ target: [of, name] }) => of === layer && names.includes(name));
      if (own.length === 0) return [];
      const width = linearShape(config, own[0]!.target[1])[1];
      const most = Math.min(width, Math.max(...own.map(({ r }) => Math.round(r * rho))));
      const rng = random(seed, "eva", layer, names[0]!);
      const readers = own.map(({ target: [, name] }) => name);
      return [{ layer, readers, most, pca: new IncrementalPca(width, most, rng), converged: [] }];
    }),
  ).flat();
}

/** Whether the components that a layer's rank takes have converged. */
const isSettled = ({ layer, readers, converged }: Input, ranks: ReadonlyMap<string, number>): boolean => {
  const r = ranks.get(modulePath(layer, readers[0]!))!;
  return converged.length > 0 && converged.slice(0, r).every(Boolean);
};

/** Ranks by module path: all that there are to give go to the components that explain most, of all layers. */
function sharedOut(inputs: readonly Input[], budget: number): Map<string, number> {
  const paths = ({ layer, readers }: Input) => readers.map((name) => modulePath(layer, name));
  const first = inputs.map((input) => ({ input, path: paths(input)[0]! }));
  const others = inputs.flatMap((input) =>
    paths(input)
      .slice(1)
      .map((path) => ({ input, path })),
  );
  const candidates = [...first, ...others].flatMap(({ input, path }) =>
    Array.from(input.pca.explained, (explained) => ({ path, explained })),
  );
  const ranks = new Map(inputs.flatMap(paths).map((path) => [path, 0]));
  for (const { path } of candidates.toSorted((a, b) => b.explained - a.explained).slice(0, budget))
    ranks.set(path, ranks.get(path)! + 1);
  for (const input of inputs) {
    const [main, ...rest] = paths(input);
    for (const path of rest) {
      const [own, most] = [ranks.get(path)!, ranks.get(main!)!];
      if (own > most) ranks.set(main!, own).set(path, most);
    }
  }
  return ranks;
}

/** The adapter with these ranks; a layer of rank 0 has none. */
function adapterOf(
  { config }: TrainerModel,
  lora: LoraConfig,
  targets: readonly Targeted[],
  inputs: readonly Input[],
  ranks: ReadonlyMap<string, number>,
  { whiten, adjustScalingFactors }: EvaSettings,
): Pick<EvaStart, "lora" | "components"> {
  const kept = targets.flatMap(({ target: [layer, name], r: asked, alpha }) => {
    const r = ranks.get(modulePath(layer, name))!;
    return r === 0 ? [] : [{ layer, name, r, alpha: adjustScalingFactors ? (alpha * r) / asked : alpha }];
  });
  const components = new Map(
    kept.map(({ layer, name, r }) => {
      const { pca } = inputs.find((input) => input.layer === layer && input.readers.includes(name))!;
      const rows = pca.components.slice(0, r).map((component, k) => {
        const factor = whiten ? 1 / Math.sqrt(pca.singularValues[k]!) : 1;
        return Array.from(component, (x) => factor * x);
      });
      return [modulePath(layer, name), Float32Array.from(rows.flat())];
    }),
  );
  const { rankPattern: _, alphaPattern: __, layersToTransform: ___, excludedModules: ____, ...rest } = lora;
  const targeted = targetsOf(
    kept.map(({ layer, name }) => [layer, name]),
    config,
  );
  return { lora: { ...rest, ...targeted, ...patternsOf(kept, lora) }, components };
}

/** Runs micro-batches through the base and gives the components of its layers' inputs what these are on the tokens that count. */
class InputReader {
  private readonly context: PassContext;
  private readonly device: Device;
  private readonly onlyTargets: boolean;
  private readonly programs = new Map<number, Program>();
  private readonly results = new Map<string, View>();

  constructor(context: PassContext, onlyTargets: boolean) {
    this.context = context;
    this.device = context.device;
    this.onlyTargets = onlyTargets;
  }

  async read(batch: MicroBatch, inputs: readonly Input[], tau: number): Promise<void> {
    const layout = layOut(batch, this.context.config.vocabSize, this.context.programs.rounding); // each sample by itself
    const rows = countedRows(batch, this.onlyTargets);
    await runBlocks(this.context, layout, async ({ index }, values) => {
      const own = inputs.filter(({ layer }) => layer === index);
      if (own.length === 0) return;
      const found = this.run(index, layout.padded, values);
      for (const input of own) {
        const view = found.get(input.readers[0]!)!;
        const all = (await this.device.download(view)) as Float32Array;
        await advance(input, rowsOf(all, view.shape[1]!, rows), tau);
      }
    });
  }

  /** What each linear layer of a block is given [N, in]. */
  private run(layer: number, n: number, values: Readonly<Record<"x" | "o", View>>): Map<LinearName, View> {
    const { config, parameter } = this.context;
    const { f, readers } = linearInputs(config, n);
    if (!this.programs.has(n)) this.programs.set(n, this.device.compile(f));
    const program = this.programs.get(n)!;
    const result = (name: string, width: number) => {
      const key = `${name} ${n}`;
      if (!this.results.has(key)) this.results.set(key, tensor(this.device, "f32", [n, width]));
      return this.results.get(key)!;
    };
    const given: Readonly<Record<string, View>> = values;
    const inputs = program.inputs.map((name) => [name, given[name] ?? parameter(weightName(name, layer))]);
    const results = Object.fromEntries(
      Object.entries(f.outputs).map(([name, { shape }]) => [name, result(name, shape[1]!)]),
    );
    this.device.run(program, Object.fromEntries(inputs), results);
    return new Map([...readers].flatMap(([name, all]) => all.map((reader) => [reader, results[name]!])));
  }

  dispose(): void {
    for (const program of this.programs.values()) this.device.release(program);
    for (const { buffer } of this.results.values()) this.device.free(buffer);
  }
}

/** Takes a batch of rows in, and says which components it has turned by no more than tau allows. */
async function advance(input: Input, rows: Float32Array, tau: number): Promise<void> {
  const { pca } = input;
  const before = pca.components;
  if (!(await pca.add(rows)) || before.length === 0) return;
  input.converged = pca.components.map((component, k) => {
    const dot = before[k]!.reduce((sum, x, i) => sum + x * component[i]!, 0);
    return dot >= tau;
  });
}

/** The rows of a micro-batch that count: those of its tokens that are learned, or of all. */
function countedRows(batch: readonly Sample[], onlyTargets: boolean): number[] {
  const rows: number[] = [];
  let start = 0;
  for (const { ids, supervised } of batch) {
    for (let i = 0; i < ids.length; i++) if (!onlyTargets || supervised[i] === 1) rows.push(start + i);
    start += ids.length;
  }
  return rows;
}

function rowsOf(all: Float32Array, width: number, rows: readonly number[]): Float32Array {
  const found = new Float32Array(rows.length * width);
  for (const [i, row] of rows.entries()) found.set(all.subarray(row * width, (row + 1) * width), i * width);
  return found;
}
