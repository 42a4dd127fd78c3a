import { cacheShape, layerPrefix, type ModelConfig } from "../models/index.js";
import { type Bound, type Device, tensor, type View, view } from "../runtime/index.js";
import { BYTES } from "../tensor/index.js";
import { movePositions } from "./positions.js";

/** A text whose keys and values lie in a pool. */
export interface Tenant {
  /** Its row. */
  row: number;
  /** Positions that were ever written in this row. */
  readonly written: number;
}

/**
 * KV caches of texts of about the same length, side by side, so that one run reads them all. Texts stand in rows 0, 1, ...
 * without a gap. What a text leaves is wiped: a value that is NaN would reach the next one through a weight of 0.
 */
export class KvPool<T extends Tenant> {
  readonly capacity: number;
  readonly tenants: T[] = [];
  private readonly device: Device;
  private readonly config: ModelConfig;
  private readonly zeros: View;
  private cached: View;
  private readonly parts = new Map<string, Bound>();

  constructor(device: Device, config: ModelConfig, capacity: number, rows: number) {
    this.device = device;
    this.config = config;
    this.capacity = capacity;
    this.cached = tensor(device, "f32", cacheShape(config, rows, capacity));
    this.zeros = tensor(device, "f32", cacheShape(config, 1, capacity));
  }

  /** All rows: [2 L, rows, KV, C, hd]. */
  get cache(): View {
    return this.cached;
  }

  get rows(): number {
    return this.cached.shape[1]!;
  }

  /** Gives a text the next row; `rows` is how many there shall be when there is none left. */
  add(tenant: T, rows: number): void {
    if (this.tenants.length === this.rows) this.grow(rows);
    tenant.row = this.tenants.push(tenant) - 1;
  }

  /** Takes a text's row back. The last text moves into it. */
  remove(tenant: T): void {
    const { row } = tenant;
    const last = this.tenants.pop()!;
    this.wipe(row, tenant.written);
    if (last === tenant) return;
    this.tenants[row] = last;
    movePositions(this.device, this.cached, this.cached, [
      { row: last.row, at: 0, toRow: row, toAt: 0, count: last.written },
    ]);
    this.wipe(last.row, last.written);
    last.row = row;
  }

  /** Keys and values of `count` rows from `first` on, each [count, KV, C, hd], as `decode` calls them. */
  part(first: number, count: number): Bound {
    const known = this.parts.get(`${first} ${count}`);
    if (known) return known;
    const [, rows, kv, c, hd] = this.cached.shape as [number, number, number, number, number];
    const part = (index: number) =>
      view(this.cached.buffer, "f32", [count, kv, c, hd], (index * rows + first) * kv * c * hd * BYTES.f32);
    const views: Record<string, View> = {};
    for (let layer = 0; layer < this.config.numHiddenLayers; layer++) {
      views[`${layerPrefix(layer)}k_cache`] = part(2 * layer);
      views[`${layerPrefix(layer)}v_cache`] = part(2 * layer + 1);
    }
    const made = this.device.bind(views);
    this.parts.set(`${first} ${count}`, made);
    return made;
  }

  dispose(): void {
    this.forgetParts();
    this.device.free(this.cached.buffer);
    this.device.free(this.zeros.buffer);
  }

  private wipe(row: number, count: number): void {
    movePositions(this.device, this.zeros, this.cached, [{ row: 0, at: 0, toRow: row, toAt: 0, count }]);
  }

  private grow(rows: number): void {
    const larger = tensor(this.device, "f32", cacheShape(this.config, rows, this.capacity));
    const moves = this.tenants.map(({ row, written }) => ({ row, at: 0, toRow: row, toAt: 0, count: written }));
    movePositions(this.device, this.cached, larger, moves);
    this.forgetParts();
    this.device.free(this.cached.buffer);
    this.cached = larger;
  }

  private forgetParts(): void {
    for (const bound of this.parts.values()) this.device.unbind(bound);
    this.parts.clear();
  }
}
