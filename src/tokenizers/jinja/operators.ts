import { percentFormat } from "./format.js";
import { bigintOf, exact } from "./numbers.js";
import { str } from "./print.js";
import { compareText, escapeHtml, repeat } from "./text.js";
import {
  DictView,
  dictEntries,
  dictGet,
  dictSize,
  floatOf,
  intOf,
  isDict,
  isFloat,
  isInt,
  isNumber,
  itemsOf,
  iterate,
  Markup,
  numberOf,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
} from "./values.js";
import { STEP, spend, spendItems, spendText, TemplateError, Unsupported } from "./work.js";

export type Operator = "+" | "-" | "*" | "/" | "//" | "%" | "**";

/** Python's binary operators. Throws TemplateError for types that do not go together. */
export function binary(operator: Operator, a: unknown, b: unknown): unknown {
  if (a instanceof Undefined) a.fail();
  if (isNumber(a) && isNumber(b)) {
    return isInt(a) && isInt(b) ? integers(operator, a, b) : floats(operator, numberOf(a), numberOf(b));
  }
  if (b instanceof Undefined && !(operator === "%" && textOf(a) !== undefined)) b.fail();
  const found =
    operator === "+" ? add(a, b) : operator === "*" ? (times(a, b) ?? times(b, a)) : remainder(operator, a, b);
  if (found !== undefined) return found;
  const name = operator === "**" ? "** or pow()" : operator;
  throw new TemplateError(`unsupported operand type(s) for ${name}: '${typeName(a)}' and '${typeName(b)}'`);
}

function remainder(operator: Operator, a: unknown, b: unknown): string | undefined {
  if (operator !== "%") return undefined;
  if (a instanceof Markup) throw new Unsupported("% on a text made safe");
  return typeof a === "string" ? percentFormat(a, b) : undefined;
}

function add(a: unknown, b: unknown): unknown {
  if (typeof a === "string" && typeof b === "string") return joinTwo(a, b);
  if (a instanceof Markup || b instanceof Markup) {
    const [left, right] = [textOf(a), textOf(b)];
    if (left === undefined || right === undefined) return undefined;
    return new Markup(
      joinTwo(a instanceof Markup ? left : escapeHtml(left), b instanceof Markup ? right : escapeHtml(right)),
    );
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    spendItems(a.length + b.length);
    return a.concat(b);
  }
  if (a instanceof Tuple && b instanceof Tuple) {
    spendItems(a.items.length + b.items.length);
    return new Tuple([...a.items, ...b.items]);
  }
  return undefined;
}

/** Long texts are joined without being copied, so only the shorter one is work. */
function joinTwo(a: string, b: string): string {
  const length = a.length + b.length;
  if (length > 1 << 24) spendText(length);
  spend(Math.min(a.length, b.length) + STEP);
  return a + b;
}

function times(a: unknown, b: unknown): unknown {
  if (!isInt(b)) return undefined;
  const count = Math.max(0, numberOf(b));
  const text = textOf(a);
  if (text !== undefined) return a instanceof Markup ? new Markup(repeat(text, count)) : repeat(text, count);
  const items = itemsOf(a);
  if (!items) return undefined;
  spendItems(items.length * count);
  const repeated = items.length === 0 ? [] : Array.from({ length: count }, () => items).flat(1);
  return Array.isArray(a) ? repeated : new Tuple(repeated);
}

function integers(operator: Operator, a: number | bigint | boolean, b: number | bigint | boolean): unknown {
  switch (operator) {
    case "+":
      return exact(
        a,
        b,
        (x, y) => x + y,
        (x, y) => x + y,
      );
    case "-":
      return exact(
        a,
        b,
        (x, y) => x - y,
        (x, y) => x - y,
      );
    case "*":
      return exact(
        a,
        b,
        (x, y) => x * y,
        (x, y) => x * y,
      );
    case "/":
      return divideIntegers(a, b);
    case "//":
      notZero(b, "integer division or modulo by zero");
      return exact(a, b, floorQuotient, floorDivide);
    case "%":
      notZero(b, "integer modulo by zero");
      return exact(
        a,
        b,
        (x, y) => x - y * floorQuotient(x, y),
        (x, y) => x - y * floorDivide(x, y),
      );
    case "**":
      return power(a, b);
  }
}

/** NaN, which sends the division to bigints, where a quotient of numbers might be rounded. */
const floorQuotient = (x: number, y: number): number =>
  Math.abs(x) <= 2 ** 52 && Math.abs(y) <= 2 ** 52 ? Math.floor(x / y) : Number.NaN;

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b !== 0n && a < 0n !== b < 0n ? quotient - 1n : quotient;
}

function divideIntegers(a: number | bigint | boolean, b: number | bigint | boolean): unknown {
  notZero(b, "division by zero");
  if (typeof a === "bigint" || typeof b === "bigint") throw new Unsupported("dividing integers beyond 2^53");
  return floatOf(Number(a) / Number(b));
}

function notZero(value: unknown, message: string): void {
  if (Number(value) === 0) throw new TemplateError(message);
}

function power(a: number | bigint | boolean, b: number | bigint | boolean): unknown {
  if (Number(b) < 0) return floats("**", Number(a), Number(b));
  const base = bigintOf(a);
  if (base === 0n || base === 1n || base === -1n) return Number(b) === 0 ? 1 : intOf(base * (oddPower(b) ? 1n : base));
  if (base.toString(2).length * Number(b) > 1 << 17) throw new TemplateError("an integer of more than 65536 bits");
  return exact(
    a,
    b,
    (x, y) => x ** y,
    (x, y) => x ** y,
  );
}

const oddPower = (exponent: number | bigint | boolean): boolean => bigintOf(exponent) % 2n === 1n;

function floats(operator: Operator, a: number, b: number): unknown {
  switch (operator) {
    case "+":
      return floatOf(a + b);
    case "-":
      return floatOf(a - b);
    case "*":
      return floatOf(a * b);
    case "/":
      notZero(b, "float division by zero");
      return floatOf(a / b);
    case "//":
      notZero(b, "float floor division by zero");
      return floatOf(floorFloat(a, b));
    case "%":
      notZero(b, "float modulo");
      return floatOf(modFloat(a, b));
    case "**": {
      if (a === 0 && b < 0) throw new TemplateError("0.0 cannot be raised to a negative power");
      if (a < 0 && !Number.isInteger(b) && Number.isFinite(b)) throw new Unsupported("a complex number");
      const result = a === 1 || b === 0 ? 1 : a ** b;
      if (!Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b))
        throw new TemplateError("Result too large");
      return floatOf(result);
    }
  }
}

function modFloat(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return b < 0 ? -0 : 0;
  return rest < 0 !== b < 0 ? rest + b : rest;
}

function floorFloat(a: number, b: number): number {
  const rest = a % b;
  let quotient = (a - rest) / b;
  if (rest !== 0 && rest < 0 !== b < 0) quotient -= 1;
  if (quotient === 0) return a / b < 0 || Object.is(a / b, -0) ? -0 : 0;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

/** Python's unary minus and plus. */
export function signed(value: unknown, negative: boolean): unknown {
  if (value instanceof Undefined) value.fail();
  if (isInt(value))
    return negative
      ? exact(
          0,
          value,
          (x, y) => x - y,
          (x, y) => x - y,
        )
      : typeof value === "boolean"
        ? Number(value)
        : value;
  if (isFloat(value)) return negative ? floatOf(-numberOf(value)) : value;
  throw new TemplateError(`bad operand type for unary ${negative ? "-" : "+"}: '${typeName(value)}'`);
}

/** Python's `==`. */
export function equal(a: unknown, b: unknown): boolean {
  if (typeof a === "string" && typeof b === "string") {
    spend(a.length === b.length ? a.length : 1);
    return a === b;
  }
  if (isNumber(a) && isNumber(b)) return sameNumber(a, b);
  if (a === b) return true;
  spend(STEP);
  const [left, right] = [textOf(a), textOf(b)];
  if (left !== undefined || right !== undefined) return left === right;
  if (a instanceof Undefined) return b instanceof Undefined;
  if (Array.isArray(a) && Array.isArray(b)) return sameItems(a, b);
  if (a instanceof Tuple && b instanceof Tuple) return sameItems(a.items, b.items);
  if (isDict(a) && isDict(b)) return sameDicts(a, b);
  if (a instanceof Range && b instanceof Range) return sameItems([...a.iterate()], [...b.iterate()]);
  if (a instanceof DictView && b instanceof DictView && a.type !== "dict_values" && b.type !== "dict_values") {
    return a.length() === b.length() && [...a.iterate()].every((item) => contains(b, item));
  }
  return false;
}

function sameNumber(a: number | bigint | boolean | object, b: number | bigint | boolean | object): boolean {
  if (typeof a === "bigint" || typeof b === "bigint") {
    const [x, y] = [a.valueOf(), b.valueOf()];
    // biome-ignore lint/suspicious/noDoubleEquals: a bigint equals the number of the same value
    return x == y;
  }
  return Number(a) === Number(b);
}

const sameItems = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((item, i) => item === b[i] || equal(item, b[i]));

function sameDicts(a: object, b: object): boolean {
  if (dictSize(a) !== dictSize(b)) return false;
  for (const [key, value] of dictEntries(a)) {
    const other = dictGet(b, key);
    if (other === undefined || !equal(value, other)) return false;
  }
  return true;
}

/** Order of two values, below, at or above 0; NaN when there is none (floats that are no numbers). */
export function compare(a: unknown, b: unknown, operator: string): number {
  if (isNumber(a) && isNumber(b)) {
    const [x, y] = [a.valueOf(), b.valueOf()] as [number, number];
    // biome-ignore lint/suspicious/noDoubleEquals: a bigint equals the number of the same value
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : Number.NaN;
  }
  const [left, right] = [textOf(a), textOf(b)];
  if (left !== undefined && right !== undefined) return compareText(left, right);
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  const lists = Array.isArray(a) === Array.isArray(b);
  const [items, others] = [itemsOf(a), itemsOf(b)];
  if (items && others && lists) {
    const at = items.findIndex((item, i) => i >= others.length || !(item === others[i] || equal(item, others[i])));
    if (at < 0 || at >= others.length) return items.length - others.length;
    return compare(items[at], others[at], operator);
  }
  if (a instanceof DictView && b instanceof DictView) throw new Unsupported("comparing views of dicts by size");
  throw new TemplateError(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

export type Comparison = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in";

export function compares(operator: Comparison, a: unknown, b: unknown): boolean {
  switch (operator) {
    case "==":
      return equal(a, b);
    case "!=":
      return !equal(a, b);
    case "<":
      return compare(a, b, operator) < 0;
    case "<=":
      return compare(a, b, operator) <= 0;
    case ">":
      return compare(a, b, operator) > 0;
    case ">=":
      return compare(a, b, operator) >= 0;
    case "in":
      return contains(b, a);
    case "not in":
      return !contains(b, a);
  }
}

/** Python's `item in container`. */
function contains(container: unknown, item: unknown): boolean {
  const text = textOf(container);
  if (text !== undefined) {
    const part = textOf(item);
    if (part === undefined) {
      throw new TemplateError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    }
    spend(text.length);
    return text.includes(part);
  }
  if (isDict(container)) return dictGet(container, item) !== undefined;
  if (container instanceof DictView && container.type === "dict_keys") {
    return dictGet(container.dict, item) !== undefined;
  }
  if (!itemsOf(container) && !(container as { iterate?: unknown } | null)?.iterate) {
    throw new TemplateError(`argument of type '${typeName(container)}' is not iterable`);
  }
  for (const other of iterate(container)) {
    spend(STEP);
    if (other === item || equal(other, item)) return true;
  }
  return false;
}

/** Texts of values, one after the other: the `~` operator. */
export function concatenate(values: readonly unknown[]): string {
  let text = "";
  for (const value of values) text = joinTwo(text, str(value));
  return text;
}
