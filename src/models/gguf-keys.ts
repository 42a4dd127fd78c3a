import { UserError } from "../tensor/index.js";

/** A value of a GGUF's metadata, of whatever type. */
type Value = unknown;

/**
 * The keys of one architecture in a GGUF's metadata, read without its name in front (`attention.head_count`); remembers which
 * were read, so that the others can be named. `where` starts every message.
 */
export class GgufKeys {
  readonly architecture: string;
  readonly where: string;
  private readonly metadata: ReadonlyMap<string, Value>;
  private readonly read = new Set<string>();

  constructor(architecture: string, metadata: ReadonlyMap<string, Value>, where: string) {
    this.architecture = architecture;
    this.metadata = metadata;
    this.where = where;
  }

  /** Whole names of the keys that were asked for. */
  get seen(): ReadonlySet<string> {
    return this.read;
  }

  /** A key with the architecture's name in front. */
  name(key: string): string {
    return `${this.architecture}.${key}`;
  }

  /** A value as it is; undefined where it is missing. */
  get(key: string): Value {
    this.read.add(this.name(key));
    return this.metadata.get(this.name(key));
  }

  /** A finite number; of a list, one for each layer, where all are the same. Without `otherwise` it must be there. */
  number(key: string, otherwise?: number): number {
    const value = this.get(key) ?? otherwise;
    if (typeof value === "number" && Number.isFinite(value)) return shortest(value);
    if (Array.isArray(value) && typeof value[0] === "number") {
      if (value.every((one) => one === value[0])) return shortest(value[0]);
      throw new UserError(`${this.where}: ${this.name(key)} differs from layer to layer, which is not supported`);
    }
    const got = value === undefined ? "nothing" : typeof value;
    throw new UserError(`${this.where}: metadata ${this.name(key)} must be a number, got ${got}`);
  }

  /** Which layers attend within a window: a list of flags, or a period of which the last layer has none. */
  sliding(layers: number, period: number): boolean[] {
    const key = "attention.sliding_window_pattern";
    const value = this.get(key) ?? period;
    if (Array.isArray(value) && value.length === layers) return value.map(Boolean);
    if (typeof value === "number" && Number.isInteger(value) && value >= 0)
      return Array.from({ length: layers }, (_, layer) => value === 0 || (layer + 1) % value !== 0);
    throw new UserError(`${this.where}: ${this.name(key)} must be a period or a list of ${layers} flags`);
  }

  /** Refuses a value that is none of these; a missing key never is. */
  only(key: string, supported: readonly Value[], what = `${this.name(key)} = ${String(this.get(key))}`): void {
    const value = this.get(key);
    if (value === undefined || supported.includes(value)) return;
    throw new UserError(`${this.where}: ${what} is not supported`);
  }

  /** Whether nobody has asked for a key. */
  unread(key: string): boolean {
    return !this.read.has(this.name(key));
  }
}

/** The shortest decimal that is the same float32: 1e-5 was stored as 0.00000999999974... */
export function shortest(value: number): number {
  if (Number.isInteger(value)) return value;
  for (let digits = 1; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}
