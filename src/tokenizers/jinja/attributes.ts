import type { Lookup } from "./format.js";
import { isHidden, methodOf } from "./methods.js";
import { repr } from "./print.js";
import { itemAt } from "./sequences.js";
import {
  Callable,
  dictGet,
  isDict,
  isInt,
  itemsOf,
  type Kwargs,
  numberOf,
  PyObject,
  Range,
  Tuple,
  textOf,
  typeName,
  Undefined,
} from "./values.js";
import { STEP, spend, TemplateError } from "./work.js";

const missing = (value: unknown, key: unknown): Undefined =>
  new Undefined(() =>
    typeof key === "string"
      ? `'${describe(value)}' has no attribute ${repr(key)}`
      : `${describe(value)} has no element ${repr(key)}`,
  );

const describe = (value: unknown): string => (value === null ? "None" : `${typeName(value)} object`);

/** An attribute as Python has it; undefined (JavaScript's) when there is none. */
function pythonAttribute(value: unknown, name: string): unknown {
  if (value instanceof Undefined) {
    if (/^__.*__$/.test(name)) return undefined;
    value.fail();
  }
  if (isHidden(value, name)) return hidden(value, name);
  if (value instanceof Tuple && value.names?.includes(name)) return value.items[value.names.indexOf(name)];
  if (value instanceof PyObject && value.attribute) return value.attribute(name);
  return methodOf(value, name, lookup);
}

const hidden = (value: unknown, name: string): Undefined =>
  new Undefined(`access to attribute '${name}' of '${typeName(value)}' object is unsafe.`);

/** What Python's `value[key]` gives; undefined (JavaScript's) when it fails. */
function pythonItem(value: unknown, key: unknown): unknown {
  if (value instanceof Undefined) value.fail();
  if (isDict(value)) return isKey(key) ? dictGet(value, key) : undefined;
  if (!isInt(key)) return undefined;
  const indexed = itemsOf(value) || textOf(value) !== undefined || value instanceof Range;
  return indexed ? itemAt(value, numberOf(key)) : undefined;
}

const isKey = (key: unknown): boolean => !Array.isArray(key) && !isDict(key);

/** jinja2's `value.name`: the attribute, else the item; an Undefined when there is neither. */
export function getAttribute(value: unknown, name: string): unknown {
  if (isPlain(value) && !isMethod(name)) {
    const own = dictGet(value, name);
    return own === undefined ? missing(value, name) : own;
  }
  const attribute = pythonAttribute(value, name);
  if (attribute !== undefined) return attribute;
  const item = pythonItem(value, name);
  return item === undefined ? missing(value, name) : item;
}

/** Names that dicts have of their own: those come before the keys. */
const dictNames = new Set("clear copy fromkeys get items keys pop popitem setdefault update values".split(" "));
const isMethod = (name: string): boolean => dictNames.has(name) || name.startsWith("__");
const isPlain = (value: unknown): value is object =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;

/** jinja2's `value[key]`: the item, else the attribute; an Undefined when there is neither. */
export function getItem(value: unknown, key: unknown): unknown {
  const item = pythonItem(value, key);
  if (item !== undefined) return item;
  const name = textOf(key);
  const attribute = name === undefined ? undefined : pythonAttribute(value, name);
  return attribute === undefined ? missing(value, key) : attribute;
}

/** How the fields of `str.format` look things up. */
const lookup: Lookup = { attribute: getAttribute, item: getItem };

/** jinja2's `attr` filter: the attribute alone. */
export function attributeOnly(value: unknown, name: string): unknown {
  const attribute = pythonAttribute(value, name);
  return attribute === undefined ? missing(value, name) : attribute;
}

/** Calls what a template calls. Throws TemplateError for what cannot be called. */
export function call(callee: unknown, args: readonly unknown[], kwargs: Kwargs): unknown {
  spend(STEP);
  if (callee instanceof Callable) return callee.call(args, kwargs);
  if (callee instanceof Undefined) callee.fail();
  throw new TemplateError(`'${typeName(callee)}' object is not callable`);
}
