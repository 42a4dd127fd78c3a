import {
  type LinearName,
  type LoraConfig,
  layerPrefix,
  linearLora,
  linearNames,
  linearShape,
  type ModelConfig,
  stackedFactor,
  stackedName,
  weightName,
} from "../models/index.js";
import { type Device, type Program, rowsOf, tensor, type View } from "../runtime/index.js";

/** A resident adapter: its configuration and tensors by checkpoint name, which stay as they are, and how strong it is. */
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
  users: number;
}

/** Segments start and end on multiples of this. */
const ALIGNMENT = 8;

/** Products add up their inner dimension in blocks of this; a segment inside one gives the same sums wherever it lies. */
const BLOCK = 128;

/**
 * The factors of all adapters in use, one under the other: A [rank, in] and B^T [rank, out] of every linear layer that any of
 * them changes, so that one run serves them all. An adapter that is not in use stays until its place is needed.
 */
export class AdapterStack {
  private readonly device: Device;
  private readonly config: ModelConfig;
  private readonly segments = new Map<Tensors, Segment>();
  /** By their names in `decode`. */
  private readonly factors = new Map<string, View>();
  private readonly programs = new Map<string, Program>();
  private height = 0;

  constructor(device: Device, config: ModelConfig) {
    this.device = device;
    this.config = config;
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

  /** The rows that a run with these adapters needs, and the layers that they change. */
  extent(adapters: Iterable<ResidentAdapter>): { readonly rank: number; readonly targets: readonly LinearName[] } {
    const used = [...adapters].map(({ tensors }) => this.segments.get(tensors)!);
    const end = Math.max(0, ...used.map(({ start, rows }) => start + rows));
    const targets = linearNames(this.config).filter((name) => used.some((segment) => segment.targets.includes(name)));
    return { rank: end === 0 ? 0 : stepOf(end), targets };
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
    for (const program of this.programs.values()) this.device.release(program);
    this.factors.clear();
    this.programs.clear();
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
    const segment = { start, rows, targets: config.targetModules, users: 1 };
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
    for (let layer = 0; layer < this.config.numHiddenLayers; layer++) {
      for (const name of linearNames(this.config)) {
        const own = linearLora(config, layer, name);
        const wanted = config.targetModules.includes(name); // in every block: what has no adapter there is zero
        const into = this.pair(layer, name, wanted);
        if (!into) continue;
        const r = own?.r ?? 0;
        if (own) {
          this.device.copy(tensors.get(weightName(`${name}.lora_A.weight`, layer))!, rowsOf(into.A, segment.start, r));
          const lora_B = tensors.get(weightName(`${name}.lora_B.weight`, layer))!;
          const stacked = rowsOf(into.B, segment.start, r);
          this.device.run(this.transposing(lora_B.shape[0]!, r, own.scale), { lora_B }, { stacked });
        }
        for (const factor of [into.A, into.B]) this.zero(rowsOf(factor, segment.start + r, segment.rows - r));
      }
    }
  }

  private zero(rows: View): void {
    if (rows.shape[0]! > 0) this.device.upload(rows, new Float32Array(rows.shape[0]! * rows.shape[1]!));
  }

  /** Both factors of a linear layer; `make` them where they are not there. */
  private pair(layer: number, name: LinearName, make: boolean): { A: View; B: View } | undefined {
    const [keyA, keyB] = [layerPrefix(layer) + stackedName(name, "A"), layerPrefix(layer) + stackedName(name, "B")];
    if (make && !this.factors.has(keyA)) {
      const [out, input] = linearShape(this.config, name);
      this.factors.set(keyA, tensor(this.device, "f32", [this.height, input]));
      this.factors.set(keyB, tensor(this.device, "f32", [this.height, out]));
    }
    const [A, B] = [this.factors.get(keyA), this.factors.get(keyB)];
    return A && B && { A, B };
  }

  private transposing(out: number, r: number, scale: number): Program {
    const key = `${out} ${r} ${scale}`;
    let program = this.programs.get(key);
    if (!program) this.programs.set(key, (program = this.device.compile(stackedFactor(out, r, scale))));
    return program;
  }
}

const roundUp = (n: number, step: number): number => Math.ceil(n / step) * step;

/** Rows are counted in few steps, each of which is a program of its own. */
const stepOf = (rows: number): number =>
  rows > BLOCK ? roundUp(rows, BLOCK) : Math.max(ALIGNMENT, 2 ** Math.ceil(Math.log2(rows)));

/** A start from which so many rows do not cross a block's border, if they fit into one. */
const fitted = (start: number, rows: number): number =>
  rows <= BLOCK && Math.floor(start / BLOCK) !== Math.floor((start + rows - 1) / BLOCK) ? roundUp(start, BLOCK) : start;
