import { bind, type Parameters, required } from "./arguments.js";
import { binary, type Comparison, compares, equal } from "./operators.js";
import { str } from "./print.js";
import { isTests } from "./text.js";
import {
  Callable,
  isDict,
  isFloat,
  isInt,
  isNumber,
  itemsOf,
  type Kwargs,
  Markup,
  PyObject,
  Range,
  textOf,
  Undefined,
} from "./values.js";
import { Unsupported } from "./work.js";

/** A test: whether something holds of a value, given the arguments after it. */
export type Test = (value: unknown, args: readonly unknown[], kwargs: Kwargs) => boolean;

const test = (name: string, parameters: Parameters, holds: (value: unknown, ...args: unknown[]) => boolean): Test => {
  const signature = { parameters };
  return (value, args, kwargs) => holds(value, ...bind(name, signature, args, kwargs));
};

const compared = (operator: Comparison) => (value: unknown, other: unknown) => compares(operator, value, other);

const isWholeInt = (value: unknown): boolean => isInt(value) && typeof value !== "boolean";

const isSequence = (value: unknown): boolean =>
  textOf(value) !== undefined ||
  itemsOf(value) !== undefined ||
  isDict(value) ||
  value instanceof Range ||
  value instanceof Undefined;

const isIterable = (value: unknown): boolean =>
  isSequence(value) || (value instanceof PyObject && value.iterate !== undefined);

function sameAs(value: unknown, other: unknown): boolean {
  if (typeof value !== typeof other) return false;
  const small = (n: unknown) => typeof n === "number" && Number.isInteger(n) && n >= -5 && n <= 256;
  const certain = typeof value === "boolean" || value === null || other === null || small(value) || small(other);
  const objects = typeof value === "object" && typeof other === "object" && !isFloat(value) && !isFloat(other);
  if (certain || objects) return value === other;
  if (!equal(value, other)) return false;
  throw new Unsupported("'sameas' of equal texts and numbers, which depends on memory,");
}

const named: Record<string, [Parameters, (value: unknown, ...args: unknown[]) => boolean]> = {
  boolean: [{}, (value) => typeof value === "boolean"],
  callable: [{}, (value) => value instanceof Callable || value instanceof Undefined],
  defined: [{}, (value) => !(value instanceof Undefined)],
  divisibleby: [{ num: required }, (value, by) => equal(binary("%", value, by), 0)],
  escaped: [{}, (value) => value instanceof Markup],
  even: [{}, (value) => equal(binary("%", value, 2), 0)],
  false: [{}, (value) => value === false],
  float: [{}, isFloat],
  in: [{ seq: required }, compared("in")],
  integer: [{}, isWholeInt],
  iterable: [{}, isIterable],
  lower: [{}, (value) => isTests.islower!(str(value))],
  mapping: [{}, isDict],
  none: [{}, (value) => value === null],
  number: [{}, isNumber],
  odd: [{}, (value) => equal(binary("%", value, 2), 1)],
  sameas: [{ other: required }, sameAs],
  sequence: [{}, isSequence],
  string: [{}, (value) => textOf(value) !== undefined],
  true: [{}, (value) => value === true],
  undefined: [{}, (value) => value instanceof Undefined],
  upper: [{}, (value) => isTests.isupper!(str(value))],
};

const comparisons: Record<string, Comparison> = {
  "==": "==",
  eq: "==",
  equalto: "==",
  "!=": "!=",
  ne: "!=",
  ">": ">",
  gt: ">",
  greaterthan: ">",
  ge: ">=",
  ">=": ">=",
  "<": "<",
  lt: "<",
  lessthan: "<",
  "<=": "<=",
  le: "<=",
};

/** The tests of jinja2, by name; `filter` and `test` are added where both tables are known. */
export const plainTests: Readonly<Record<string, Test>> = {
  ...Object.fromEntries(
    Object.entries(named).map(([name, [parameters, holds]]) => [name, test(name, parameters, holds)]),
  ),
  ...Object.fromEntries(
    Object.entries(comparisons).map(([name, operator]) => [name, test(name, { other: required }, compared(operator))]),
  ),
};
