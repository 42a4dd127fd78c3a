/**
 * Keys are snake_case on disk and camelCase in TypeScript. This file is the only place where one becomes the other:
 * the types below follow the same rule as the functions.
 */
export type CamelCase<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;

/** T with every object key in camelCase, at any depth. */
export type CamelKeys<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { [K in keyof T as CamelCase<K & string>]: CamelKeys<T[K]> }
    : T;

/** Keys whose camelCase does not tell where a word begins, as others call them on disk. */
const ON_DISK = new Map([["bnb4bitUseDoubleQuant", "bnb_4bit_use_double_quant"]]);

/** `maxSeqLen` of `max_seq_len`. */
export function camelCase(key: string): string {
  return key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** `max_seq_len` of `maxSeqLen`. */
export function snakeCase(key: string): string {
  return ON_DISK.get(key) ?? key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** A copy of `value` with every object key in camelCase. */
export function camelKeys<T>(value: T): CamelKeys<T> {
  return renameKeys(value, camelCase) as CamelKeys<T>;
}

/** A copy of `value` with every object key in snake_case. */
export function snakeKeys(value: unknown): unknown {
  return renameKeys(value, snakeCase);
}

/** What these hold has keys of its own, which are no settings: modules, fields, a template's arguments. */
const VERBATIM = new Set(
  ["rank_pattern", "alpha_pattern", "columns", "chat_template_kwargs"].flatMap((key) => [key, camelCase(key)]),
);

function renameKeys(value: unknown, rename: (key: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => renameKeys(item, rename));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [rename(key), VERBATIM.has(key) ? item : renameKeys(item, rename)]),
  );
}
