import { bind, type Parameters, required, type Signature } from "./arguments.js";
import { type Lookup, strFormat } from "./format.js";
import { equal } from "./operators.js";
import * as texts from "./text.js";
import {
  Callable,
  characters,
  Dict,
  DictView,
  dictEntries,
  dictGet,
  isDict,
  isInt,
  itemsOf,
  type Kwargs,
  listOf,
  Markup,
  numberOf,
  Tuple,
  textOf,
  truthy,
  typeName,
} from "./values.js";
import { STEP, spend, spendText, TemplateError, Unsupported } from "./work.js";

/** A method: its parameters and what it does with the arguments in their order. */
interface Method<T> extends Signature {
  readonly run: (self: T, ...args: unknown[]) => unknown;
}

const method = <T>(parameters: Parameters, run: Method<T>["run"], named = false): Method<T> => ({
  parameters,
  positionalOnly: !named,
  run,
});

/** An argument that has to be a str. */
export function asText(value: unknown, what = "argument"): string {
  const text = textOf(value);
  if (text === undefined) throw new TemplateError(`${what} must be str, not ${typeName(value)}`);
  return text;
}

/** An argument that has to be an int. */
export function asInt(value: unknown): number {
  if (!isInt(value)) throw new TemplateError(`'${typeName(value)}' object cannot be interpreted as an integer`);
  return numberOf(value);
}

const characterSet = (value: unknown): string | undefined => (value === null ? undefined : asText(value, "strip arg"));

const stripper = (left: boolean, right: boolean) =>
  method<string>({ chars: null }, (text, chars) => texts.strip(text, characterSet(chars), left, right));

const splitter = (fromRight: boolean) =>
  method<string>(
    { sep: null, maxsplit: -1 },
    (text, separator, most) => {
      const limit = asInt(most);
      return separator === null
        ? texts.splitSpaces(text, limit, fromRight)
        : texts.splitAt(text, asText(separator), limit, fromRight);
    },
    true,
  );

const padder = (share?: 0 | 1) =>
  method<string>({ width: required, fillchar: " " }, (text, width, fill) =>
    texts.pad(text, asInt(width), asText(fill), share),
  );

/** Start and end in UTF-16 units of the part of a text that a method looks at; undefined when it is none. */
function part(text: string, start: unknown, end: unknown): [number, number] | undefined {
  const length = characters(text);
  const bound = (value: unknown, unset: number) => {
    if (value === null) return unset;
    const index = asInt(value);
    return index < 0 ? Math.max(0, index + length) : index;
  };
  const from = bound(start, 0);
  const to = Math.min(bound(end, length), length);
  return from > to ? undefined : [texts.unitOf(text, from), texts.unitOf(text, to)];
}

function find(text: string, sub: string, start: unknown, end: unknown, last: boolean): number {
  spend(text.length);
  const range = part(text, start, end);
  if (!range) return -1;
  const [from, to] = range;
  const at = last ? text.slice(0, to).lastIndexOf(sub) : text.slice(0, to).indexOf(sub, from);
  return at < from ? -1 : texts.pointsBefore(text, at);
}

const finder = (last: boolean, strict: boolean) =>
  method<string>({ sub: required, start: null, end: null }, (text, sub, start, end) => {
    const at = find(text, asText(sub), start, end, last);
    if (at < 0 && strict) throw new TemplateError("substring not found");
    return at;
  });

const affix = (test: (part: string, affix: string) => boolean) =>
  method<string>({ prefix: required, start: null, end: null }, (text, given, start, end) => {
    const range = part(text, start, end);
    const wanted = given instanceof Tuple ? given.items : [given];
    const [from, to] = range ?? [0, 0];
    const looked = text.slice(from, to);
    return wanted.some((item) => range !== undefined && test(looked, asText(item)));
  });

function count(text: string, sub: string, start: unknown, end: unknown): number {
  spend(text.length);
  const range = part(text, start, end);
  if (!range) return 0;
  const looked = text.slice(...range);
  if (sub === "") return characters(looked) + 1;
  let found = 0;
  for (let at = looked.indexOf(sub); at >= 0; at = looked.indexOf(sub, at + sub.length)) found++;
  return found;
}

function partition(text: string, separator: string, last: boolean): Tuple {
  if (separator === "") throw new TemplateError("empty separator");
  spend(text.length);
  const at = last ? text.lastIndexOf(separator) : text.indexOf(separator);
  if (at < 0) return new Tuple(last ? ["", "", text] : [text, "", ""]);
  return new Tuple([text.slice(0, at), separator, text.slice(at + separator.length)]);
}

/** Joins items that all have to be str. */
function join(separator: string, items: unknown): string {
  const pieces = listOf(items);
  let length = 0;
  pieces.forEach((piece, i) => {
    const text = textOf(piece);
    if (text === undefined)
      throw new TemplateError(`sequence item ${i}: expected str instance, ${typeName(piece)} found`);
    if (piece instanceof Markup) throw new Unsupported("join() of texts made safe");
    length += text.length + separator.length;
  });
  spendText(length);
  return pieces.join(separator);
}

function zeroFill(text: string, width: number): string {
  const sign = /^[-+]/.exec(text)?.[0] ?? "";
  return sign + texts.pad(text.slice(sign.length), width - sign.length, "0", 1);
}

const mapped = (change: (text: string) => string) =>
  method<string>({}, (text) => {
    spend(text.length);
    const result = change(text);
    spendText(result.length);
    return result;
  });

const textMethods: Readonly<Record<string, Method<string>>> = {
  capitalize: mapped(texts.capitalize),
  casefold: mapped(texts.casefold),
  center: padder(),
  count: method({ sub: required, start: null, end: null }, (text, sub, start, end) =>
    count(text, asText(sub), start, end),
  ),
  endswith: affix((text, suffix) => text.endsWith(suffix)),
  expandtabs: method({ tabsize: 8 }, (text, size) => texts.expandTabs(text, asInt(size)), true),
  find: finder(false, false),
  index: finder(false, true),
  join: method({ iterable: required }, join),
  ljust: padder(0),
  lower: mapped((text) => text.toLowerCase()),
  lstrip: stripper(true, false),
  partition: method({ sep: required }, (text, separator) => partition(text, asText(separator), false)),
  removeprefix: method({ prefix: required }, (text, prefix) => {
    const start = asText(prefix);
    return text.startsWith(start) ? text.slice(start.length) : text;
  }),
  removesuffix: method({ suffix: required }, (text, suffix) => {
    const end = asText(suffix);
    return end !== "" && text.endsWith(end) ? text.slice(0, -end.length) : text;
  }),
  replace: method({ old: required, new: required, count: -1 }, (text, old, by, most) =>
    texts.replace(text, asText(old), asText(by), asInt(most)),
  ),
  rfind: finder(true, false),
  rindex: finder(true, true),
  rjust: padder(1),
  rpartition: method({ sep: required }, (text, separator) => partition(text, asText(separator), true)),
  rsplit: splitter(true),
  rstrip: stripper(false, true),
  split: splitter(false),
  splitlines: method({ keepends: false }, (text, keep) => texts.splitLines(text, truthy(keep)), true),
  startswith: affix((text, prefix) => text.startsWith(prefix)),
  strip: stripper(true, true),
  swapcase: mapped(texts.swapcase),
  title: mapped(texts.title),
  upper: mapped((text) => text.toUpperCase()),
  zfill: method({ width: required }, (text, width) => zeroFill(text, asInt(width))),
  ...Object.fromEntries(Object.entries(texts.isTests).map(([name, test]) => [name, method<string>({}, isTest(test))])),
};

function isTest(test: (text: string) => boolean) {
  return (text: string) => {
    spend(text.length);
    return test(text);
  };
}

function indexOf(items: readonly unknown[], value: unknown, start: unknown, stop: unknown): number {
  const bound = (index: unknown, unset: number) => {
    const given = index === null ? unset : asInt(index);
    return given < 0 ? Math.max(0, given + items.length) : given;
  };
  const end = Math.min(bound(stop, items.length), items.length);
  for (let i = bound(start, 0); i < end; i++) {
    spend(STEP);
    if (items[i] === value || equal(items[i], value)) return i;
  }
  throw new TemplateError("the value is not in the list");
}

const sequenceMethods: Readonly<Record<string, Method<readonly unknown[]>>> = {
  count: method({ value: required }, (items, value) => {
    spend(items.length * STEP);
    return items.filter((item) => item === value || equal(item, value)).length;
  }),
  index: method({ value: required, start: 0, stop: null }, indexOf),
};

const dictMethods: Readonly<Record<string, Method<object>>> = {
  copy: method({}, (dict) => new Dict(dictEntries(dict))),
  get: method({ key: required, default: null }, (dict, key, fallback) => {
    const value = dictGet(dict, key);
    return value === undefined ? fallback : value;
  }),
  items: method({}, (dict) => new DictView("dict_items", dict)),
  keys: method({}, (dict) => new DictView("dict_keys", dict)),
  values: method({}, (dict) => new DictView("dict_values", dict)),
};

/** Attributes that Python has and that are not here: refused by name. */
const absent: Readonly<Record<string, readonly string[]>> = {
  str: ["encode", "maketrans", "translate"],
  dict: ["fromkeys"],
  int: [
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "conjugate",
    "denominator",
    "from_bytes",
    "imag",
    "numerator",
    "real",
    "to_bytes",
  ],
  float: ["as_integer_ratio", "conjugate", "fromhex", "hex", "imag", "is_integer", "real"],
  range: ["count", "index", "start", "step", "stop"],
  generator: ["close", "send", "throw", "gi_running", "gi_suspended", "gi_yieldfrom"],
  dict_keys: ["isdisjoint", "mapping"],
  dict_items: ["isdisjoint", "mapping"],
  dict_values: ["mapping"],
};
const absentOf = (type: string): readonly string[] =>
  absent[type === "bool" ? "int" : type === "Markup" ? "str" : type] ?? [];

/** Methods that would change a list or dict: the sandbox lets none of them be called. */
const changing: Readonly<Record<string, readonly string[]>> = {
  list: ["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"],
  dict: ["clear", "pop", "popitem", "setdefault", "update"],
};

/** Is it an attribute that the sandbox hides? */
export const isHidden = (value: unknown, name: string): boolean =>
  changing[typeName(value)]?.includes(name) === true || /^__\w+__$/.test(name);

/** A method of a built-in type bound to its value, or undefined when there is none of that name. Throws Unsupported. */
export function methodOf(value: unknown, name: string, lookup: Lookup): Callable | undefined {
  const text = textOf(value);
  if (text !== undefined && (name === "format" || name === "format_map")) return formatter(value, text, name, lookup);
  const found =
    text !== undefined
      ? own(textMethods, name, text)
      : isDict(value)
        ? own(dictMethods, name, value)
        : itemsOf(value)
          ? listMethod(value, name)
          : undefined;
  if (!found) {
    if (absentOf(typeName(value)).includes(name)) throw new Unsupported(`'${name}' of a ${typeName(value)}`);
    return undefined;
  }
  if (value instanceof Markup) throw new Unsupported(`${name}() on a text made safe`);
  return found;
}

function own<T>(table: Readonly<Record<string, Method<T>>>, name: string, self: T): Callable | undefined {
  if (!Object.hasOwn(table, name)) return undefined;
  const { run, ...signature } = table[name]!;
  return new Callable(name, (args, kwargs) => run(self, ...bind(name, signature, args, kwargs)));
}

function listMethod(value: unknown, name: string): Callable | undefined {
  if (name === "copy" && Array.isArray(value)) return own({ copy: method<unknown[]>({}, listOf) }, name, value);
  return own(sequenceMethods, name, itemsOf(value)!);
}

function formatter(value: unknown, text: string, name: "format" | "format_map", lookup: Lookup): Callable {
  if (value instanceof Markup) throw new Unsupported(`${name}() on a text made safe`);
  if (name === "format") return new Callable(name, (args, kwargs) => strFormat(text, args, kwargs, lookup));
  return new Callable(name, ([mapping, ...more], kwargs) => {
    if (kwargs.size > 0) throw new TemplateError("format_map() takes no keyword arguments");
    if (more.length > 0 || !isDict(mapping)) throw new TemplateError("format_map() takes exactly one mapping");
    const named = new Map([...dictEntries(mapping)].filter(([key]) => typeof key === "string")) as Kwargs;
    return strFormat(text, [], named, lookup);
  });
}
