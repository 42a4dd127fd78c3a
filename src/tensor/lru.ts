/**
 * Values that are made when they are first asked for. Beyond `most` in all, those not used for longest are dropped; the one just
 * asked for never is, however large.
 */
export class Lru<K, V> {
  private readonly most: number;
  private readonly sizeOf: (value: V) => number;
  private readonly drop: (value: V) => void;
  /** The one used last at the end. */
  private readonly entries = new Map<K, V>();
  private size = 0;

  /** `sizeOf` says what a value counts (default 1); `drop` gives back what it holds. */
  constructor(most: number, options: { sizeOf?: (value: V) => number; drop?: (value: V) => void } = {}) {
    this.most = most;
    this.sizeOf = options.sizeOf ?? (() => 1);
    this.drop = options.drop ?? (() => undefined);
  }

  get(key: K, make: () => V): V {
    const known = this.entries.has(key);
    const value = known ? this.entries.get(key)! : make();
    if (known) this.entries.delete(key);
    else this.size += this.sizeOf(value);
    this.entries.set(key, value);
    for (const oldest of this.entries.keys()) {
      if (this.size <= this.most || oldest === key) break;
      this.remove(oldest);
    }
    return value;
  }

  clear(): void {
    for (const key of [...this.entries.keys()]) this.remove(key);
  }

  private remove(key: K): void {
    const value = this.entries.get(key)!;
    this.entries.delete(key);
    this.size -= this.sizeOf(value);
    this.drop(value);
  }
}
