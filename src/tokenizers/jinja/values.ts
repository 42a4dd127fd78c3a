import { Float, floatOf, keysOf } from "../json.js";
import { STEP, spend, spendItems, TemplateError } from "./work.js";

/*
 * Python's values as JavaScript holds them:
 *
 *   str    string                         list    array
 *   int    integral number, or bigint     tuple   Tuple
 *   float  any other number, or Float     dict    plain object (from outside) or Dict
 *   bool   boolean                        None    null
 *
 * and everything else is a `PyObject`.
 */

/** An object of Python, or of jinja2, that JavaScript has no like of. */
export abstract class PyObject {
  /** What Python's `type(x).__name__` says. */
  abstract readonly type: string;
  /** Items, for what can be looped over. */
  iterate?(): Iterable<unknown>;
  /** What `len` says, for what has one. */
  length?(): number;
  /** An attribute, or undefined (JavaScript's) when there is none. */
  attribute?(name: string): unknown;
  /** Its text, for what can be printed. */
  print?(): string;
}

export class Tuple extends PyObject {
  override readonly type = "tuple";
  readonly items: readonly unknown[];
  /** Names of the items, of a named tuple. */
  readonly names: readonly string[] | undefined;
  constructor(items: readonly unknown[], names?: readonly string[]) {
    super();
    this.items = items;
    this.names = names;
  }
  override iterate(): Iterable<unknown> {
    return this.items;
  }
  override length(): number {
    return this.items.length;
  }
}

/** A dict that the template made: keys of any hashable type, in their order. */
export class Dict extends PyObject {
  override readonly type = "dict";
  readonly entries = new Map<unknown, readonly [key: unknown, value: unknown]>();
  constructor(pairs: Iterable<readonly [unknown, unknown]> = []) {
    super();
    for (const [key, value] of pairs) this.set(key, value);
  }
  set(key: unknown, value: unknown): void {
    spend(2 * STEP);
    const hashed = hashOf(key);
    this.entries.set(hashed, [this.entries.get(hashed)?.[0] ?? key, value]);
  }
}

export class Undefined extends PyObject {
  override readonly type = "Undefined";
  readonly #message: string | (() => string);
  constructor(message: string | (() => string)) {
    super();
    this.#message = message;
  }
  get message(): string {
    return typeof this.#message === "string" ? this.#message : this.#message();
  }
  fail(): never {
    throw new TemplateError(this.message);
  }
  override iterate(): Iterable<unknown> {
    return [];
  }
  override length(): number {
    return 0;
  }
}

/** Items that are made when they are asked for, and once: what filters such as `map` and `select` give. */
export class Generator extends PyObject {
  override readonly type: string;
  readonly #iterator: Iterator<unknown>;
  constructor(items: Iterable<unknown>, type = "generator") {
    super();
    this.#iterator = items[Symbol.iterator]();
    this.type = type;
  }
  override iterate(): Iterable<unknown> {
    const iterator = this.#iterator;
    // no `return`: a loop that ends early leaves the rest
    return { [Symbol.iterator]: () => ({ next: () => iterator.next() }) };
  }
}

export class Range extends PyObject {
  override readonly type = "range";
  readonly start: number;
  readonly stop: number;
  readonly step: number;
  readonly count: number;
  constructor(start: number, stop: number, step: number) {
    super();
    this.start = start;
    this.stop = stop;
    this.step = step;
    this.count = Math.max(0, Math.ceil((stop - start) / step));
  }
  at(index: number): number {
    return this.start + index * this.step;
  }
  override *iterate(): Iterable<unknown> {
    for (let i = 0; i < this.count; i++) yield this.at(i);
  }
  override length(): number {
    return this.count;
  }
}

/** What `keys()`, `values()` and `items()` of a dict give. */
export class DictView extends PyObject {
  override readonly type: "dict_keys" | "dict_values" | "dict_items";
  readonly dict: object;
  constructor(type: DictView["type"], dict: object) {
    super();
    this.type = type;
    this.dict = dict;
  }
  override *iterate(): Iterable<unknown> {
    for (const [key, value] of dictEntries(this.dict)) {
      yield this.type === "dict_items" ? new Tuple([key, value]) : this.type === "dict_keys" ? key : value;
    }
  }
  override length(): number {
    return dictSize(this.dict);
  }
}

/** Text that counts as HTML already (`safe`, `escape`): what is added to it gets escaped. */
export class Markup extends PyObject {
  override readonly type = "Markup";
  readonly text: string;
  constructor(text: string) {
    super();
    this.text = text;
  }
}

/** Arguments given by name. */
export type Kwargs = ReadonlyMap<string, unknown>;

export const noKwargs: Kwargs = new Map();

/** What a template can call. */
export class Callable extends PyObject {
  override readonly type: string = "builtin_function_or_method";
  readonly name: string;
  readonly call: (args: readonly unknown[], kwargs: Kwargs) => unknown;
  constructor(name: string, call: Callable["call"]) {
    super();
    this.name = name;
    this.call = call;
  }
}

export const isDict = (value: unknown): value is object =>
  value instanceof Dict ||
  (typeof value === "object" &&
    value !== null &&
    !(value instanceof PyObject) &&
    !Array.isArray(value) &&
    !(value instanceof Float));

export const isInt = (value: unknown): value is number | bigint | boolean =>
  typeof value === "number" ? Number.isInteger(value) : typeof value === "bigint" || typeof value === "boolean";

export const isFloat = (value: unknown): value is number | Float =>
  value instanceof Float || (typeof value === "number" && !Number.isInteger(value));

export const isNumber = (value: unknown): value is number | bigint | boolean | Float =>
  typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" || value instanceof Float;

/** A number or a bool as JavaScript's number. */
export const numberOf = (value: number | bigint | boolean | Float): number => Number(value);

/** An integer as it is kept: a number where that is exact. */
export function intOf(value: number | bigint): number | bigint {
  if (typeof value === "number") return value + 0; // not -0
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

export { Float, floatOf };

/** Text of a str or a Markup, which is one; undefined for everything else. */
export function textOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  return value instanceof Markup ? value.text : undefined;
}

export function typeName(value: unknown): string {
  if (typeof value === "string") return "str";
  if (typeof value === "boolean") return "bool";
  if (value === null || value === undefined) return "NoneType";
  if (isInt(value)) return "int";
  if (isFloat(value)) return "float";
  if (value instanceof PyObject) return value.type;
  return Array.isArray(value) ? "list" : "dict";
}

export function truthy(value: unknown): boolean {
  if (typeof value === "boolean") return value;
  if (typeof value === "string") return value !== "";
  if (value === null || value === undefined) return false;
  if (Array.isArray(value)) return value.length > 0;
  if (isNumber(value)) return numberOf(value) !== 0;
  if (value instanceof Markup) return value.text !== "";
  if (isDict(value)) return dictSize(value) > 0;
  const length = (value as PyObject).length?.();
  return length === undefined || length > 0;
}

/** What a key is found by: equal keys give the same. Throws TemplateError for what cannot be a key. */
export function hashOf(key: unknown): unknown {
  if (typeof key === "string" || key === null) return key;
  if (isNumber(key)) return typeof key === "bigint" ? key : numberOf(key);
  if (key instanceof Markup) return key.text;
  if (key instanceof Tuple) return `\ufdd0${JSON.stringify(key.items.map(hashedPart))}`;
  if (key instanceof Undefined) return Undefined;
  if (Array.isArray(key) || isDict(key)) throw new TemplateError(`unhashable type: '${typeName(key)}'`);
  return key;
}

function hashedPart(item: unknown): unknown {
  const hashed = hashOf(item);
  if (typeof hashed === "bigint") return [String(hashed)];
  if (hashed !== null && typeof hashed === "object") throw new TemplateError("a tuple with such items cannot be a key");
  return hashed === Undefined ? [] : hashed;
}

/** The value of a key, or undefined (JavaScript's) when there is none. */
export function dictGet(dict: object, key: unknown): unknown {
  if (dict instanceof Dict) return dict.entries.get(hashOf(key))?.[1];
  const name = textOf(key);
  if (name === undefined) {
    hashOf(key);
    return undefined;
  }
  return Object.hasOwn(dict, name) ? (dict as Record<string, unknown>)[name] : undefined;
}

export function* dictEntries(dict: object): Iterable<readonly [unknown, unknown]> {
  if (dict instanceof Dict) yield* dict.entries.values();
  else for (const key of keysOf(dict)) yield [key, (dict as Record<string, unknown>)[key]];
}

export const dictSize = (dict: object): number => (dict instanceof Dict ? dict.entries.size : keysOf(dict).length);

export function dictKeys(dict: object): Iterable<unknown> {
  return dict instanceof Dict ? [...dict.entries.values()].map(([key]) => key) : keysOf(dict);
}

/** What Python's `iter` would go through. Throws TemplateError for what cannot be looped over. */
export function iterate(value: unknown): Iterable<unknown> {
  if (Array.isArray(value)) return value;
  const text = textOf(value);
  if (text !== undefined) return counted(text);
  if (isDict(value)) return dictKeys(value);
  if (value instanceof PyObject && value.iterate) return value.iterate();
  throw new TemplateError(`'${typeName(value)}' object is not iterable`);
}

/** Characters of a text: code points, each a unit of work. */
function* counted(text: string): Iterable<string> {
  for (const character of text) {
    spend(STEP);
    yield character;
  }
}

/** All items as an array of its own. */
export function listOf(value: unknown): unknown[] {
  if (Array.isArray(value)) {
    spendItems(value.length);
    return value.slice();
  }
  const items: unknown[] = [];
  for (const item of iterate(value)) {
    spend(STEP);
    items.push(item);
  }
  return items;
}

/** The items of what has a fixed order of them: list, tuple. */
export const itemsOf = (value: unknown): readonly unknown[] | undefined =>
  Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined;

/** Python's `len`. Throws TemplateError for what has none. */
export function lengthOf(value: unknown): number {
  if (Array.isArray(value)) return value.length;
  const text = textOf(value);
  if (text !== undefined) return characters(text);
  if (isDict(value)) return dictSize(value);
  const length = value instanceof PyObject ? value.length?.() : undefined;
  if (length === undefined) throw new TemplateError(`object of type '${typeName(value)}' has no len()`);
  return length;
}

/** How many code points a text has. */
export function characters(text: string): number {
  if (!isWide(text)) return text.length;
  let count = 0;
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) & 0xfc00) !== 0xdc00) count++;
  return count;
}

const surrogates = /[\ud800-\udfff]/;
let checked = "";
let checkedWide = false;

/** Has a text characters of two UTF-16 units? */
export function isWide(text: string): boolean {
  if (text.length < 64) return surrogates.test(text);
  if (text !== checked) {
    spend(text.length);
    checkedWide = surrogates.test(text);
    checked = text;
  }
  return checkedWide;
}
