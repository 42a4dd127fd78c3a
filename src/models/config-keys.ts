import { shown, UserError } from "../tensor/index.js";

/** A parsed JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * The keys of a configuration, each read with its check; remembers which were read, so that the others can be named. `where`
 * starts every message.
 */
export class ConfigKeys {
  readonly json: JsonObject;
  readonly where: string;
  private readonly seen = new Set<string>();

  constructor(json: JsonObject, where: string) {
    this.json = json;
    this.where = where;
  }

  /** A value as it is; null where it is missing or null. */
  get(key: string): unknown {
    this.seen.add(key);
    return Object.hasOwn(this.json, key) ? (this.json[key] ?? null) : null;
  }

  /** A whole number above 0. Without `otherwise` it must be there. */
  size(key: string, otherwise?: number): number {
    const value = this.get(key) ?? otherwise;
    if (typeof value === "number" && Number.isInteger(value) && value > 0 && value < 2 ** 31) return value;
    throw this.refusal(key, "a whole number above 0", value);
  }

  /** A finite number above 0. Without `otherwise` it must be there. */
  positive(key: string, otherwise?: number): number {
    const value = this.get(key) ?? otherwise;
    if (typeof value === "number" && value > 0 && Number.isFinite(value)) return value;
    throw this.refusal(key, "a number above 0", value);
  }

  flag(key: string, otherwise = false): boolean {
    const value = this.get(key) ?? otherwise;
    if (typeof value === "boolean") return value;
    throw this.refusal(key, "true or false", value);
  }

  /** A list of so many entries that `fits`; undefined where it is missing. */
  list<T>(key: string, length: number, fits: (value: unknown) => value is T, what: string): readonly T[] | undefined {
    const value = this.get(key);
    if (value === null) return undefined;
    if (Array.isArray(value) && value.length === length && value.every(fits)) return value;
    throw this.refusal(key, `a list of ${length} ${what}`, value);
  }

  /** Refuses a value that is not among those that are supported; null and a missing key always are. */
  only(key: string, supported: readonly unknown[], hint = ""): void {
    const value = this.get(key);
    if (value === null || supported.includes(value)) return;
    throw new UserError(
      `${this.where}: ${key} = ${shown(value)} is not supported (supported: ${supported.map(shown).join(", ") || "null"})${hint}`,
    );
  }

  /** Keys that nobody has asked for. */
  unread(): string[] {
    return Object.keys(this.json).filter((key) => !this.seen.has(key));
  }

  private refusal(key: string, expected: string, value: unknown): UserError {
    return new UserError(`${this.where}: ${key} must be ${expected}, got ${shown(value ?? undefined)}`);
  }
}
