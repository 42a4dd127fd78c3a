import { VECTORS, type VectorName, vectorsOf } from "../adapters/index.js";
import {
  adapterSite,
  heldBlocks,
  type LinearName,
  type LoraConfig,
  layerPrefix,
  linearLora,
  linearNames,
  linearShape,
  type ModelConfig,
  stackedName,
  weightName,
} from "../models/index.js";
import { type Device, rowsOf, tensor, type View } from "../runtime/index.js";
import { type ResidentModule, StackedUpdates } from "./stacked-updates.js";

/** A resident adapter: its configuration and tensors by published name, which stay as they are, and how strong it is. */
export interface ResidentAdapter {
  readonly config: LoraConfig;
  readonly tensors: ReadonlyMap<string, View>;
  /** Times its own scale; default 1. Adapters that differ in this alone share their tensors. */
  readonly factor?: number;
}

/** What makes two adapters the same to the stack. */
type Tensors = ResidentAdapter["tensors"];

/** Rows [start, start + rows) of every stacked factor. */
interface Segment {
  readonly start: number;
  readonly rows: number;
  readonly targets: readonly LinearName[];
  /** What its kind has beside A and B. */
  readonly vectors: readonly VectorName[];
  users: number;
}

/** Segments start and end on multiples of this. */
const ALIGNMENT = 8;

/** Products add up their inner dimension in blocks of this; a segment inside one gives the same sums wherever it lies. */
const BLOCK = 128;

/** What is stacked of a linear layer: A [height, in] and B^T [height, out], and where an adapter has them gains and biases [height, out]. */
type Stacked = Readonly<Record<"A" | "B", View> & Partial<Record<VectorName, View>>>;

/**
 * The factors of all adapters in use, one under the other: A [rank, in] and B^T [rank, out] of every linear layer that any of
 * them changes, so that one run serves them all; an adapter's gain or bias is in the first of its rows. An adapter that is not in use stays
 * until its place is needed.
 */
export class AdapterStack {
  private readonly device: Device;
  private readonly config: ModelConfig;
  private readonly segments = new Map<Tensors, Segment>();
  /** By their names in `decode`. */
  private readonly factors = new Map<string, View>();
  private readonly updates: StackedUpdates;
  private height = 0;

  constructor(device: Device, config: ModelConfig, weights: ReadonlyMap<string, View>) {
    this.device = device;
    this.config = config;
    this.updates = new StackedUpdates(device, weights);
  }

  /** Makes an adapter part of the stack, until it is released as often. */
  acquire({ config, tensors }: ResidentAdapter): void {
    const found = this.segments.get(tensors);
    if (found) found.users++;
    else this.write(config, tensors, this.place(config, tensors));
  }

  release({ tensors }: ResidentAdapter): void {
    const segment = this.segments.get(tensors);
    if (segment) segment.users--;
  }

  /** Forgets an adapter that nobody uses; with the last one the stack's memory is freed. */
  forget(tensors: Tensors): void {
    if (this.segments.get(tensors)?.users) return;
    this.segments.delete(tensors);
    if (this.segments.size === 0) this.dispose();
  }

  /** The base's weights have other values: what was made of the old ones goes as soon as nobody uses it. */
  weightsChanged(): void {
    for (const [tensors, { vectors, users }] of this.segments)
      if (vectors.includes("gain") && users === 0) this.segments.delete(tensors);
  }

  /** The rows that a run with these adapters needs, the layers that they change, and those of them that have gains and biases. */
  extent(adapters: Iterable<ResidentAdapter>): {
    readonly rank: number;
    readonly targets: readonly LinearName[];
    readonly gains: readonly LinearName[];
    readonly biases: readonly LinearName[];
  } {
    const used = [...adapters].map(({ tensors }) => this.segments.get(tensors)!);
    const end = Math.max(0, ...used.map(({ start, rows }) => start + rows));
    const named = (of: readonly Segment[]) =>
      linearNames(this.config).filter((name) => of.some(({ targets }) => targets.includes(name)));
    const having = (vector: VectorName) => named(used.filter(({ vectors }) => vectors.includes(vector)));
    return {
      rank: end === 0 ? 0 : stepOf(end),
      targets: named(used),
      gains: having("gain"),
      biases: having("bias"),
    };
  }

  /** Which rows are an adapter's own. */
  segment({ tensors }: ResidentAdapter): { readonly start: number; readonly rows: number } {
    return this.segments.get(tensors)!;
  }

  /** The first `rank` rows of the stacked factors that a program reads, by its names of them. */
  views(inputs: readonly string[], rank: number): Record<string, View> {
    const found: Record<string, View> = {};
    for (const name of rank > 0 ? inputs : []) {
      const factor = this.factors.get(name);
      if (factor) found[name] = rowsOf(factor, 0, rank);
    }
    return found;
  }

  dispose(): void {
    for (const { buffer } of this.factors.values()) this.device.free(buffer);
    this.updates.dispose();
    this.factors.clear();
    this.segments.clear();
    this.height = 0;
  }

  /** The lowest rows that no adapter in use has. Those that lie there unused are forgotten. */
  private place(config: LoraConfig, tensors: Tensors): Segment {
    const rows = roundUp(this.largestRank(config), ALIGNMENT);
    const taken = [...this.segments.values()].filter(({ users }) => users > 0).sort((a, b) => a.start - b.start);
    let start = 0;
    for (const other of taken) {
      if (fitted(start, rows) + rows <= other.start) break;
      start = Math.max(start, other.start + other.rows);
    }
    start = fitted(start, rows);
    for (const [key, other] of this.segments) {
      if (other.start < start + rows && start < other.start + other.rows) this.segments.delete(key);
    }
    const { targetModules: targets } = config;
    const segment = { start, rows, targets, vectors: vectorsOf(config.kind), users: 1 };
    this.segments.set(tensors, segment);
    if (start + rows > this.height) this.grow(stepOf(start + rows));
    return segment;
  }

  private largestRank(config: LoraConfig): number {
    let most = 1;
    for (let layer = 0; layer < this.config.numHiddenLayers; layer++) {
      for (const name of config.targetModules) most = Math.max(most, linearLora(config, layer, name)?.r ?? 0);
    }
    return most;
  }

  private grow(height: number): void {
    for (const [name, old] of this.factors) {
      const larger = tensor(this.device, "f32", [height, old.shape[1]!]);
      this.device.copy(old, rowsOf(larger, 0, this.height));
      this.device.free(old.buffer);
      this.factors.set(name, larger);
    }
    this.height = height;
  }

  private write(config: LoraConfig, tensors: Tensors, segment: Segment): void {
    const { first, end } = heldBlocks(this.config);
    for (let layer = first; layer < end; layer++) {
      for (const name of linearNames(this.config)) {
        const into = this.stackedAt(layer, name, segment);
        if (!into) continue;
        const own = linearLora(config, layer, name);
        if (own) this.writeModule({ layer, name, site: adapterSite(this.config, name, own), tensors }, into, segment);
        const r = own?.r ?? 0;
        for (const factor of [into.A, into.B]) this.zero(rowsOf(factor, segment.start + r, segment.rows - r));
        for (const vector of VECTORS) {
          const held = own && segment.vectors.includes(vector) ? 1 : 0;
          const rows = into[vector];
          if (rows) this.zero(rowsOf(rows, segment.start + held, segment.rows - held));
        }
      }
    }
    this.updates.done();
  }

  /** Where a module's update is stacked: room is made in every block, what has no adapter there is zero. Undefined: nowhere. */
  private stackedAt(layer: number, name: LinearName, { targets, vectors }: Segment): Stacked | undefined {
    const [out, input] = linearShape(this.config, name);
    const at = (part: keyof Stacked, width: number, make: boolean): View | undefined => {
      const key = layerPrefix(layer) + stackedName(name, part);
      if (make && !this.factors.has(key)) this.factors.set(key, tensor(this.device, "f32", [this.height, width]));
      return this.factors.get(key);
    };
    const wanted = targets.includes(name);
    const [A, B] = [at("A", input, wanted), at("B", out, wanted)];
    const own = VECTORS.flatMap((vector) => {
      const view = at(vector, out, wanted && vectors.includes(vector));
      return view ? [[vector, view] as const] : [];
    });
    return A && B && { A, B, ...Object.fromEntries(own) };
  }

  private writeModule(module: ResidentModule, { A, B, ...rows }: Stacked, { start, vectors }: Segment): void {
    const { layer, name, site, tensors } = module;
    this.device.copy(tensors.get(weightName(`${name}.lora_A.weight`, layer))!, rowsOf(A, start, site.r));
    const own = vectors.map((vector) => [vector, rowsOf(rows[vector]!, start, 1)] as const);
    this.updates.write(module, { stacked: rowsOf(B, start, site.r), ...Object.fromEntries(own) });
  }

  private zero(rows: View): void {
    if (rows.shape[0]! > 0) this.device.upload(rows, new Float32Array(rows.shape[0]! * rows.shape[1]!));
  }
}

const roundUp = (n: number, step: number): number => Math.ceil(n / step) * step;

/** Rows are counted in few steps, each of which is a program of its own. */
const stepOf = (rows: number): number =>
  rows > BLOCK ? roundUp(rows, BLOCK) : Math.max(ALIGNMENT, 2 ** Math.ceil(Math.log2(rows)));

/** A start from which so many rows do not cross a block's border, if they fit into one. */
const fitted = (start: number, rows: number): number =>
  rows <= BLOCK && Math.floor(start / BLOCK) !== Math.floor((start + rows - 1) / BLOCK) ? roundUp(start, BLOCK) : start;
