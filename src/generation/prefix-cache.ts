import { cacheShape, type ModelConfig } from "../models/index.js";
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
  /** [2 L, 1, KV, ids, hd] */
  readonly cache: View;
}

/** A row of a KV cache. */
export interface CacheRow {
  readonly cache: View;
  readonly row: number;
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
    for (const { cache } of this.kept) sum += cache.buffer.bytes;
    return sum;
  }

  /** Keeps a copy of a text's cache, in place of those that are its beginning; not when one kept begins with it. */
  keep(adapter: ResidentAdapter | undefined, ids: readonly number[], from: CacheRow): void {
    const shape = cacheShape(this.config, 1, ids.length);
    if (ids.length < LEAST || bytesOf("f32", shape) > this.most) return;
    const origin = originOf(adapter);
    for (const one of [...this.of(origin)]) {
      const common = commonLength(one.ids, ids);
      if (common === ids.length) {
        this.used(one);
        return;
      }
      if (common === one.ids.length) this.drop(one);
    }
    const cache = tensor(this.device, "f32", shape);
    movePositions(this.device, from.cache, cache, [{ row: from.row, at: 0, toRow: 0, toAt: 0, count: ids.length }]);
    this.kept.add({ ...origin, ids, cache });
    for (const oldest of this.kept) {
      if (this.bytes <= this.most) break;
      this.drop(oldest);
    }
  }

  /** The longest beginning that some text had in common with `ids`, but for its last token: which text, and how many tokens. */
  find(adapter: ResidentAdapter | undefined, ids: readonly number[]): { cache: View; count: number } | undefined {
    let [best, count] = [undefined as Kept | undefined, LEAST - 1];
    for (const one of this.of(originOf(adapter))) {
      const common = Math.min(commonLength(one.ids, ids), ids.length - 1);
      if (common > count) [best, count] = [one, common];
    }
    if (!best) return undefined;
    this.used(best);
    return { cache: best.cache, count };
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
    this.device.free(one.cache.buffer);
  }
}

function commonLength(a: readonly number[], b: readonly number[]): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
