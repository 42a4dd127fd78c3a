import { cacheGroups, cacheShape, type ModelConfig, reaches } from "../models/index.js";
import { type Device, tensor, type View } from "../runtime/index.js";
import { bytesOf } from "../tensor/index.js";
import type { ResidentAdapter } from "./adapter-stack.js";
import { movePositions } from "./positions.js";

/** Shorter beginnings are computed anew. */
const LEAST = 8;

/** What a text's keys and values depend on besides its tokens. Loading a folder again makes other tensors. */
interface Origin {
  readonly tensors: ResidentAdapter["tensors"] | undefined;
  readonly factor: number;
}

interface Kept extends Origin {
  readonly ids: readonly number[];
  /** Of each group of layers: [2 L, 1, KV, positions, hd] */
  readonly caches: readonly View[];
  readonly starts: readonly number[];
}

/** A row of the KV caches of each group of layers, and the position of the text that each begins with. */
export interface CacheRow {
  readonly caches: readonly View[];
  readonly row: number;
  readonly starts: readonly number[];
}

/** What a text can begin with: the first `count` tokens of one that is over. */
interface Beginning extends Omit<CacheRow, "row"> {
  readonly count: number;
}

const originOf = (adapter: ResidentAdapter | undefined): Origin => ({
  tensors: adapter?.tensors,
  factor: adapter ? (adapter.factor ?? 1) : 1,
});

/**
 * Keys and values of texts that are over, for new ones that begin with the same tokens, on the same adapter at the same
 * strength. What was not used for longest goes when they are more than `most` bytes.
 */
export class PrefixCache {
  /** Bytes kept at most; 0: nothing is kept. Default 0. */
  most = 0;
  private readonly device: Device;
  private readonly config: ModelConfig;
  /** The one used last at the end. */
  private readonly kept = new Set<Kept>();

  constructor(device: Device, config: ModelConfig) {
    this.device = device;
    this.config = config;
  }

  get bytes(): number {
    let sum = 0;
    for (const { caches } of this.kept) for (const { buffer } of caches) sum += buffer.bytes;
    return sum;
  }

  /** Keeps a copy of a text's cache, in place of those that are its beginning; not when one kept begins with it. */
  keep(adapter: ResidentAdapter | undefined, ids: readonly number[], from: CacheRow): void {
    const { starts } = from;
    if (!this.serves(starts, ids.length)) return;
    const counts = starts.map((start) => ids.length - start);
    const shapes = cacheGroups(this.config).map((group, i) => cacheShape(this.config, group, 1, counts[i]!));
    const bytes = shapes.reduce((sum, shape) => sum + bytesOf("f32", shape), 0);
    if (ids.length < LEAST || bytes > this.most) return;
    const origin = originOf(adapter);
    for (const one of [...this.of(origin)]) {
      const common = commonLength(one.ids, ids);
      if (common === ids.length && this.serves(one.starts, common)) {
        this.used(one);
        return;
      }
      if (common === one.ids.length && this.serves(starts, common)) this.drop(one);
    }
    const caches = shapes.map((shape, i) => {
      const cache = tensor(this.device, "f32", shape);
      const move = { row: from.row, at: 0, toRow: 0, toAt: 0, count: counts[i]! };
      movePositions(this.device, from.caches[i]!, cache, [move]);
      return cache;
    });
    this.kept.add({ ...origin, ids, caches, starts: [...starts] });
    for (const oldest of this.kept) {
      if (this.bytes <= this.most) break;
      this.drop(oldest);
    }
  }

  /** The longest beginning that some text had in common with `ids`, but for its last token: which text, and how many tokens. */
  find(adapter: ResidentAdapter | undefined, ids: readonly number[]): Beginning | undefined {
    let [best, count] = [undefined as Kept | undefined, LEAST - 1];
    for (const one of this.of(originOf(adapter))) {
      const common = Math.min(commonLength(one.ids, ids), ids.length - 1);
      if (common > count && this.serves(one.starts, common)) [best, count] = [one, common];
    }
    if (!best) return undefined;
    this.used(best);
    return { caches: best.caches, starts: best.starts, count };
  }

  /** Whether caches that begin at these positions hold what the token at `position` sees. */
  private serves(starts: readonly number[], position: number): boolean {
    return cacheGroups(this.config).every((group, i) => reaches(group, starts[i]!, position));
  }

  /** Forgets the texts of an adapter that is unloaded. */
  forget(tensors: ResidentAdapter["tensors"]): void {
    for (const one of [...this.kept]) if (one.tensors === tensors) this.drop(one);
  }

  clear(): void {
    for (const one of [...this.kept]) this.drop(one);
  }

  private *of({ tensors, factor }: Origin): Generator<Kept> {
    for (const one of this.kept) if (one.tensors === tensors && one.factor === factor) yield one;
  }

  private used(one: Kept): void {
    this.kept.delete(one);
    this.kept.add(one);
  }

  private drop(one: Kept): void {
    this.kept.delete(one);
    for (const { buffer } of one.caches) this.device.free(buffer);
  }
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
