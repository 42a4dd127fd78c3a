/**
 * A float that JavaScript's numbers cannot tell from an integer: `1.0`, `-0.0`, `1e300`. Python keeps the two apart, and
 * so do chat templates. Every other float is a plain number.
 */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
  valueOf(): number {
    return this.value;
  }
  toJSON(): number {
    return this.value;
  }
}

/** An integer beyond 2^53 with all its digits. As JSON it is the nearest number, as `JSON.parse` would have it. */
export class LongInteger {
  readonly value: bigint;
  constructor(value: bigint) {
    this.value = value;
  }
  toJSON(): number {
    return Number(this.value);
  }
}

/** A float as it is kept: a plain number, unless that would be taken for an integer. */
export const floatOf = (value: number): number | Float => (Number.isInteger(value) ? new Float(value) : value);

/** The keys of an object as they came, where JavaScript would put those that look like numbers first. */
const keyOrder = Symbol("keys as they came");

/** Keys in the order of the text that the object was read from; without those whose value is undefined. */
export function keysOf(object: object): readonly string[] {
  const record = object as { readonly [key: string]: unknown; readonly [keyOrder]?: readonly string[] };
  const keys = record[keyOrder] ?? Object.keys(record);
  return keys.every((key) => record[key] !== undefined) ? keys : keys.filter((key) => record[key] !== undefined);
}

/** Does the object remember an order of its keys? */
export const remembersOrder = (object: object): boolean => keyOrder in object;

/** Lets an object remember in which order its keys came. Returns it. */
export function rememberOrder<T extends object>(object: T, keys: readonly string[]): T {
  return Object.defineProperty(object, keyOrder, { value: keys });
}

/** Most digits of an integer, as in Python. */
const mostDigits = 4300;

export interface ParseJsonOptions {
  /** Most brackets inside one another. Default 100. */
  readonly maxDepth?: number;
}

/**
 * Reads JSON as Python does where `JSON.parse` would lose something: floats that look like integers are `Float`s,
 * integers beyond 2^53 are `LongInteger`s, and `keysOf` gives the keys in their order. Everything else is as `JSON.parse` has
 * it, and a text without such numbers and keys is left to it. Linear. Throws SyntaxError for what is not JSON, is nested
 * deeper than `maxDepth` or has an integer of more than 4,300 digits.
 */
export function parseJson(text: string, { maxDepth = 100 }: ParseJsonOptions = {}): unknown {
  if (deeperThan(maxDepth, text)) throw new SyntaxError(`nested deeper than ${maxDepth} levels`);
  const value: unknown = JSON.parse(text);
  return losesSomething.test(text) ? reread(text) : value;
}

/** Floats without a fraction or with an exponent, long integers, keys of digits. Text that looks like them matches too. */
const losesSomething = /[\d.][eE][-+]?\d|\d\.0+(?!\d)|\d{16}|"\d{1,10}"\s*:/;

function deeperThan(limit: number, text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) i = stringEnd(text, i);
    else if (code === 0x5b || code === 0x7b) {
      if (++depth > limit) return true;
    } else if (code === 0x5d || code === 0x7d) depth--;
  }
  return false;
}

/** Where the string that begins at `start` has its closing quote; the text's length when it has none. */
function stringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === 0x5c) slashes++;
    if (slashes % 2 === 0) return end;
  }
  return text.length;
}

/** Reads what `JSON.parse` has already found to be JSON. */
function reread(text: string): unknown {
  const numbers = /-?\d+(\.\d+)?([eE][-+]?\d+)?/y;
  let at = 0;
  const skip = () => {
    while (text.charCodeAt(at) <= 0x20) at++;
    return text.charCodeAt(at);
  };
  const string = (): string => {
    const end = stringEnd(text, at);
    const raw = text.slice(at, end + 1);
    at = end + 1;
    return raw.includes("\\") ? JSON.parse(raw) : raw.slice(1, -1);
  };
  const number = (): number | LongInteger | Float => {
    numbers.lastIndex = at;
    const [source, fraction, exponent] = numbers.exec(text)!;
    at += source.length;
    if (fraction !== undefined || exponent !== undefined) return floatOf(Number(source));
    const value = Number(source);
    if (Number.isSafeInteger(value)) return value;
    if (source.length > mostDigits) throw new SyntaxError(`an integer of more than ${mostDigits} digits`);
    return new LongInteger(BigInt(source));
  };
  const list = (): unknown[] => {
    const items: unknown[] = [];
    for (at++; skip() !== 0x5d; ) {
      items.push(value());
      if (skip() === 0x2c) at++;
    }
    at++;
    return items;
  };
  const object = (): object => {
    const record: Record<string, unknown> = {};
    const keys = new Set<string>();
    let reordered = false;
    for (at++; skip() !== 0x7d; ) {
      const key = string();
      keys.add(key);
      reordered ||= /^\d{1,10}$/.test(key);
      if (skip() === 0x3a) at++;
      setOwn(record, key, value());
      if (skip() === 0x2c) at++;
    }
    at++;
    return reordered ? rememberOrder(record, [...keys]) : record;
  };
  const word = <T>(length: number, meant: T): T => {
    at += length;
    return meant;
  };
  const value = (): unknown => {
    const code = skip();
    if (code === 0x22) return string();
    if (code === 0x7b) return object();
    if (code === 0x5b) return list();
    if (code === 0x74) return word(4, true);
    if (code === 0x66) return word(5, false);
    return code === 0x6e ? word(4, null) : number();
  };
  return value();
}

/** Sets a key of whatever name, `__proto__` too. */
export function setOwn(record: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") Object.defineProperty(record, key, { value, enumerable: true, writable: true });
  else record[key] = value;
}
