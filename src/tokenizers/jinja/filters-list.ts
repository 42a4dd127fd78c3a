import { bind, type Parameters, required } from "./arguments.js";
import { getItem } from "./attributes.js";
import type { Filter } from "./filters.js";
import { asInt } from "./methods.js";
import { binary, compare, equal } from "./operators.js";
import { joined, str } from "./print.js";
import {
  dictEntries,
  dictKeys,
  Generator,
  hashOf,
  isDict,
  itemsOf,
  iterate,
  listOf,
  Markup,
  PyObject,
  Range,
  Tuple,
  textOf,
  truthy,
  typeName,
  Undefined,
} from "./values.js";
import { STEP, spend, spendItems, TemplateError, Unsupported } from "./work.js";

/** A path of attributes, `a.b.0`, as jinja2 looks it up; with `attribute` None the item itself. */
export function pathOf(attribute: unknown, fallback: unknown = null, ignoreCase = false): (item: unknown) => unknown {
  const text = textOf(attribute);
  const parts =
    attribute === null
      ? []
      : text === undefined
        ? [attribute]
        : text.split(".").map((part) => (/^\p{Nd}+$/u.test(part) ? Number(part) : part));
  return (item) => {
    let found = item;
    for (const part of parts) {
      found = getItem(found, part);
      if (fallback !== null && found instanceof Undefined) found = fallback;
    }
    return ignoreCase ? lowered(found) : found;
  };
}

const lowered = (value: unknown): unknown => textOf(value)?.toLowerCase() ?? value;

const filter = (parameters: Parameters, run: (value: unknown, ...args: unknown[]) => unknown, name: string): Filter => {
  const signature = { parameters };
  return (value, args, kwargs) => run(value, ...bind(name, signature, args, kwargs));
};

/** A stable sort by keys that were computed once. */
function sortedBy(items: readonly unknown[], key: (item: unknown) => unknown, reverse: unknown): unknown[] {
  const keyed = items.map((item) => ({ item, key: key(item) }));
  const backwards = truthy(reverse);
  keyed.sort((a, b) => {
    spend(STEP);
    return backwards ? compare(b.key, a.key, "<") : compare(a.key, b.key, "<");
  });
  return keyed.map(({ item }) => item);
}

function sort(value: unknown, reverse: unknown, caseSensitive: unknown, attribute: unknown): unknown[] {
  const text = textOf(attribute);
  const paths = (text === undefined ? [attribute] : text.split(",")).map((part) =>
    pathOf(part, null, !truthy(caseSensitive)),
  );
  return sortedBy(listOf(value), (item) => paths.map((path) => path(item)), reverse);
}

function dictSort(value: unknown, caseSensitive: unknown, by: unknown, reverse: unknown): unknown[] {
  if (by !== "key" && by !== "value") throw new TemplateError('You can only sort by either "key" or "value"');
  if (value instanceof Undefined) value.fail();
  if (!isDict(value)) throw new TemplateError(`'${typeName(value)}' object has no attribute 'items'`);
  const pairs = [...dictEntries(value)].map((pair) => new Tuple(pair));
  const at = by === "key" ? 0 : 1;
  const key = (pair: unknown) => (pair as Tuple).items[at];
  return sortedBy(pairs, (pair) => (truthy(caseSensitive) ? key(pair) : lowered(key(pair))), reverse);
}

function* unique(value: unknown, caseSensitive: unknown, attribute: unknown): Iterable<unknown> {
  const key = pathOf(attribute, null, !truthy(caseSensitive));
  const seen = new Set<unknown>();
  for (const item of iterate(value)) {
    spend(STEP);
    const hashed = hashOf(key(item));
    if (seen.has(hashed)) continue;
    seen.add(hashed);
    yield item;
  }
}

function extreme(sign: 1 | -1, operator: "<" | ">") {
  return (value: unknown, caseSensitive: unknown, attribute: unknown): unknown => {
    const items = listOf(value);
    if (items.length === 0) return new Undefined("No aggregated item, sequence was empty.");
    const key = pathOf(attribute, null, !truthy(caseSensitive));
    let best = items[0];
    let bestKey = key(best);
    for (const item of items.slice(1)) {
      const itemKey = key(item);
      if (sign * compare(itemKey, bestKey, operator) > 0) [best, bestKey] = [item, itemKey];
    }
    return best;
  };
}

function join(value: unknown, separator: unknown, attribute: unknown): string {
  const path = attribute === null ? undefined : pathOf(attribute);
  const between = str(separator);
  const pieces: string[] = [];
  for (const item of iterate(value)) {
    spend(STEP);
    if (pieces.length > 0) pieces.push(between);
    pieces.push(str(path ? path(item) : item));
  }
  return joined(pieces);
}

function first(value: unknown): unknown {
  for (const item of iterate(value)) return item;
  return new Undefined("No first item, sequence was empty.");
}

/** Items backwards, of what can be gone through backwards. */
function backwards(value: unknown): unknown[] | undefined {
  const text = textOf(value);
  if (text !== undefined) return listOf(value).reverse();
  if (itemsOf(value)) return itemsOf(value)!.slice().reverse();
  if (isDict(value)) return [...dictKeys(value)].reverse();
  if (value instanceof Undefined) return [];
  const orderly = value instanceof Range || (value instanceof PyObject && value.type.startsWith("dict_"));
  return orderly ? listOf(value).reverse() : undefined;
}

function last(value: unknown): unknown {
  const items = backwards(value);
  if (!items) throw new TemplateError(`'${typeName(value)}' object is not reversible`);
  return items.length > 0 ? items[0] : new Undefined("No last item, sequence was empty.");
}

function reverse(value: unknown): unknown {
  const text = textOf(value);
  if (value instanceof Markup) throw new Unsupported("reverse of a text made safe");
  if (text !== undefined) return backwards(text)!.join("");
  const items = backwards(value);
  if (items) {
    spendItems(items.length);
    return new Generator(items, "list_reverseiterator");
  }
  if (!(value instanceof PyObject && value.iterate)) throw new TemplateError("argument must be iterable");
  return listOf(value).reverse();
}

function sum(value: unknown, attribute: unknown, start: unknown): unknown {
  if (textOf(start) !== undefined) throw new TemplateError("sum() can't sum strings [use ''.join(seq) instead]");
  const path = attribute === null ? undefined : pathOf(attribute);
  let total = start;
  for (const item of iterate(value)) {
    spend(STEP);
    total = binary("+", total, path ? path(item) : item);
  }
  return total;
}

function* batch(value: unknown, count: unknown, fill: unknown): Iterable<unknown[]> {
  let row: unknown[] = [];
  for (const item of iterate(value)) {
    spend(STEP);
    if (equal(row.length, count)) {
      yield row;
      row = [];
    }
    row.push(item);
  }
  if (row.length === 0) return;
  const size = fill === null ? 0 : asInt(count) - row.length;
  if (size > 0) {
    spendItems(size);
    row = row.concat(new Array(size).fill(fill));
  }
  yield row;
}

function* sliced(value: unknown, count: unknown, fill: unknown): Iterable<unknown[]> {
  const items = listOf(value);
  const slices = asInt(count);
  if (slices === 0) throw new TemplateError("integer division or modulo by zero");
  const each = Math.floor(items.length / slices);
  const extra = items.length - each * slices;
  let from = 0;
  for (let i = 0; i < slices; i++) {
    spend(STEP);
    const to = from + each + (i < extra ? 1 : 0);
    const part = items.slice(from, to);
    if (fill !== null && i >= extra) part.push(fill);
    yield part;
    from = to;
  }
}

function groupBy(value: unknown, attribute: unknown, fallback: unknown, caseSensitive: unknown): Tuple[] {
  const key = pathOf(attribute, fallback, !truthy(caseSensitive));
  const shown = pathOf(attribute, fallback);
  const groups: { key: unknown; items: unknown[] }[] = [];
  for (const item of sortedBy(listOf(value), key, false)) {
    const itemKey = key(item);
    const group = groups.at(-1);
    if (group && equal(group.key, itemKey)) group.items.push(item);
    else groups.push({ key: itemKey, items: [item] });
  }
  return groups.map(({ items }) => new Tuple([shown(items[0]), items], ["grouper", "list"]));
}

const lazy =
  (run: (value: unknown, ...args: unknown[]) => Iterable<unknown>) =>
  (value: unknown, ...args: unknown[]): Generator =>
    new Generator(run(value, ...args));

const table: Record<string, [Parameters, (value: unknown, ...args: unknown[]) => unknown]> = {
  batch: [{ linecount: required, fill_with: null }, lazy(batch)],
  dictsort: [{ case_sensitive: false, by: "key", reverse: false }, dictSort],
  first: [{}, first],
  groupby: [{ attribute: required, default: null, case_sensitive: false }, groupBy],
  join: [{ d: "", attribute: null }, join],
  last: [{}, last],
  list: [{}, listOf],
  max: [{ case_sensitive: false, attribute: null }, extreme(1, ">")],
  min: [{ case_sensitive: false, attribute: null }, extreme(-1, "<")],
  reverse: [{}, reverse],
  slice: [{ slices: required, fill_with: null }, lazy(sliced)],
  sort: [{ reverse: false, case_sensitive: false, attribute: null }, sort],
  sum: [{ attribute: null, start: 0 }, sum],
  unique: [{ case_sensitive: false, attribute: null }, lazy(unique)],
};

/** Filters of lists, by name. */
export const listFilters: Readonly<Record<string, Filter>> = Object.fromEntries(
  Object.entries(table).map(([name, [parameters, run]]) => [name, filter(parameters, run, name)]),
);
