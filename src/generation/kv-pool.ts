import {
  type CacheGroup,
  cacheGroups,
  cacheShape,
  groupCapacity,
  layerPrefix,
  type ModelConfig,
} from "../models/index.js";
import { type Bound, type Device, tensor, type View, view } from "../runtime/index.js";
import { BYTES } from "../tensor/index.js";
import { movePositions } from "./positions.js";

/** A text whose keys and values lie in a pool. */
export interface Tenant {
  /** Its row. */
  row: number;
  /** Its tokens that are in the caches. */
  readonly length: number;
  /** Positions that were ever written in this row. */
  readonly written: number;
  /** The position of the text that comes first in the caches of each group of layers: those before it no token sees any more. */
  readonly starts: number[];
}

/** The caches of one group of layers. */
interface Caches {
  readonly group: CacheGroup;
  /** [2 L, rows, KV, C, hd] */
  view: View;
  readonly zeros: View;
}

/**
 * KV caches of texts of about the same length, side by side, so that one run reads them all. Texts stand in rows 0, 1, ...
 * without a gap. What a text leaves is wiped: a value that is NaN would reach the next one through a weight of 0. Layers with a
 * window keep no more than it sees.
 */
export class KvPool<T extends Tenant> {
  readonly capacity: number;
  readonly tenants: T[] = [];
  private readonly device: Device;
  private readonly config: ModelConfig;
  private readonly caches: readonly Caches[];
  private readonly parts = new Map<string, Bound>();

  constructor(device: Device, config: ModelConfig, capacity: number, rows: number) {
    this.device = device;
    this.config = config;
    this.capacity = capacity;
    this.caches = cacheGroups(config).map((group) => ({
      group,
      view: this.allocate(group, rows),
      zeros: this.allocate(group, 1),
    }));
  }

  /** All rows of each group of layers: [2 L, rows, KV, C, hd]. */
  get views(): readonly View[] {
    return this.caches.map(({ view }) => view);
  }

  get rows(): number {
    return this.caches[0]!.view.shape[1]!;
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
    for (const { view } of this.caches) {
      const count = Math.min(last.written, positionsOf(view));
      movePositions(this.device, view, view, [{ row: last.row, at: 0, toRow: row, toAt: 0, count }]);
    }
    this.wipe(last.row, last.written);
    last.row = row;
  }

  /** Drops what a text's next tokens do not see where there is no room for `count` of them and one behind. */
  makeRoom({ row, length, starts }: T, count: number): void {
    for (const [i, { group, view }] of this.caches.entries()) {
      const held = length - starts[i]!;
      if (group.window === undefined || held + count < positionsOf(view)) continue;
      const kept = Math.min(held, group.window - 1);
      const far = held - kept;
      for (let to = 0; to < kept; to += far) {
        const move = { row, at: to + far, toRow: row, toAt: to, count: Math.min(far, kept - to) };
        movePositions(this.device, view, view, [move]); // parts of one copy must not overlap
      }
      starts[i] = length - kept;
    }
  }

  /** Keys and values of `count` rows from `first` on, each [count, KV, C, hd], as `decode` calls them. */
  part(first: number, count: number): Bound {
    const known = this.parts.get(`${first} ${count}`);
    if (known) return known;
    const views: Record<string, View> = {};
    for (const { group, view: all } of this.caches) {
      const [, rows, kv, c, hd] = all.shape as [number, number, number, number, number];
      const part = (index: number) =>
        view(all.buffer, "f32", [count, kv, c, hd], (index * rows + first) * kv * c * hd * BYTES.f32);
      for (const [i, layer] of group.layers.entries()) {
        views[`${layerPrefix(layer)}k_cache`] = part(2 * i);
        views[`${layerPrefix(layer)}v_cache`] = part(2 * i + 1);
      }
    }
    const made = this.device.bind(views);
    this.parts.set(`${first} ${count}`, made);
    return made;
  }

  dispose(): void {
    this.forgetParts();
    for (const { view, zeros } of this.caches) for (const { buffer } of [view, zeros]) this.device.free(buffer);
  }

  private allocate(group: CacheGroup, rows: number): View {
    return tensor(this.device, "f32", cacheShape(this.config, group, rows, groupCapacity(group, this.capacity)));
  }

  private wipe(row: number, written: number): void {
    for (const { view, zeros } of this.caches) {
      const count = Math.min(written, positionsOf(view));
      movePositions(this.device, zeros, view, [{ row: 0, at: 0, toRow: row, toAt: 0, count }]);
    }
  }

  private grow(rows: number): void {
    this.forgetParts();
    for (const caches of this.caches) {
      const [old, larger] = [caches.view, this.allocate(caches.group, rows)];
      const moves = this.tenants.map(({ row, written }) => {
        return { row, at: 0, toRow: row, toAt: 0, count: Math.min(written, positionsOf(old)) };
      });
      movePositions(this.device, old, larger, moves);
      this.device.free(old.buffer);
      caches.view = larger;
    }
  }

  private forgetParts(): void {
    for (const bound of this.parts.values()) this.device.unbind(bound);
    this.parts.clear();
  }
}

const positionsOf = ({ shape }: View): number => shape[3]!;
