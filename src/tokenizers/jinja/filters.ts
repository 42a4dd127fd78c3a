import { bind, type Parameters, required, type Signature } from "./arguments.js";
import { attributeOnly } from "./attributes.js";
import { listFilters } from "./filters-list.js";
import { percentFormat } from "./format.js";
import { asInt, asText } from "./methods.js";
import { fixed, readFloat, readInt, round } from "./numbers.js";
import { signed } from "./operators.js";
import { type JsonStyle, repr, str, toJson } from "./print.js";
import * as texts from "./text.js";
import {
  Dict,
  dictEntries,
  floatOf,
  Generator,
  intOf,
  isDict,
  isFloat,
  isInt,
  isNumber,
  itemsOf,
  iterate,
  type Kwargs,
  lengthOf,
  Markup,
  numberOf,
  PyObject,
  Tuple,
  textOf,
  truthy,
  typeName,
  Undefined,
} from "./values.js";
import { spend, spendText, TemplateError, Unsupported } from "./work.js";

/** A filter: what it makes of a value and the arguments after it. */
export type Filter = (value: unknown, args: readonly unknown[], kwargs: Kwargs) => unknown;

/** A filter with named parameters. */
function filter(name: string, parameters: Parameters, run: (value: unknown, ...args: unknown[]) => unknown): Filter {
  const signature: Signature = { parameters };
  return (value, args, kwargs) => run(value, ...bind(name, signature, args, kwargs));
}

/** jinja2's `soft_str`: a text that was made safe stays so. */
function onText(change: (text: string) => string) {
  return (value: unknown) => {
    const text = str(value);
    spend(text.length);
    const changed = change(text);
    spendText(changed.length);
    return value instanceof Markup ? new Markup(changed) : changed;
  };
}

const fromKeywords = (table: Record<string, [Parameters, (value: unknown, ...args: unknown[]) => unknown]>) =>
  Object.fromEntries(Object.entries(table).map(([name, [parameters, run]]) => [name, filter(name, parameters, run)]));

function absolute(value: unknown): unknown {
  if (!isNumber(value)) throw new TemplateError(`bad operand type for abs(): '${typeName(value)}'`);
  return numberOf(value) < 0 || Object.is(numberOf(value), -0) ? signed(value, true) : signed(value, false);
}

function toInt(value: unknown, fallback: unknown, base: unknown): unknown {
  if (value instanceof Undefined) value.fail();
  if (isInt(value)) return typeof value === "boolean" ? Number(value) : value;
  const text = bare(value);
  if (text !== undefined) {
    const radix = asInt(base);
    if (![2, 8, 10, 16].includes(radix)) throw new Unsupported(`int with base ${radix}`);
    const found = readInt(text, radix);
    if (found !== undefined) return found;
  }
  const number = text !== undefined ? readFloat(text) : isNumber(value) ? numberOf(value) : Number.NaN;
  if (text === undefined && Math.abs(number!) === Infinity) {
    throw new TemplateError("cannot convert float infinity to integer");
  }
  return number === undefined || !Number.isFinite(number) ? fallback : intOf(BigInt(Math.trunc(number)));
}

/** A text without white space around it. */
function bare(value: unknown): string | undefined {
  const text = textOf(value);
  return text === undefined ? undefined : texts.strip(text, undefined, true, true);
}

function toFloat(value: unknown, fallback: unknown): unknown {
  if (value instanceof Undefined) value.fail();
  const text = bare(value);
  if (text !== undefined) {
    const number = readFloat(text);
    return number === undefined ? fallback : floatOf(number);
  }
  return isNumber(value) ? floatOf(numberOf(value)) : fallback;
}

function rounded(value: unknown, precision: unknown, how: unknown): unknown {
  if (how !== "common" && how !== "ceil" && how !== "floor") {
    throw new TemplateError("method must be common, ceil or floor");
  }
  if (how === "common") return round(value, asInt(precision));
  if (!isNumber(value)) throw new TemplateError("a number is expected");
  const unit = 10 ** asInt(precision);
  const exactly = numberOf(value) * unit;
  return floatOf((how === "ceil" ? Math.ceil(exactly) : Math.floor(exactly)) / unit);
}

function fileSize(value: unknown, binary: unknown): string {
  const bytes = toFloat(value, undefined);
  if (!isFloat(bytes)) throw new TemplateError(`a number is expected, not '${typeName(value)}'`);
  const size = numberOf(bytes);
  const base = truthy(binary) ? 1024 : 1000;
  if (size === 1) return "1 Byte";
  if (size < base) return `${Math.trunc(size)} Bytes`;
  const letters = "KMGTPEZY";
  const step = [...letters].findIndex((_, i) => size < base ** (i + 2));
  const at = step < 0 ? letters.length - 1 : step;
  const letter = at === 0 && base === 1000 ? "k" : letters[at];
  return `${fixed((base * size) / base ** (at + 2), 1)} ${letter}${base === 1024 ? "iB" : "B"}`;
}

function indent(value: unknown, width: unknown, first: unknown, blank: unknown): string {
  const text = textOf(value);
  if (value instanceof Undefined) value.fail();
  if (text === undefined) throw new TemplateError(`unsupported operand type(s) for +=: '${typeName(value)}' and 'str'`);
  if (value instanceof Markup) throw new Unsupported("indent of a text made safe");
  const by = textOf(width) ?? texts.repeat(" ", asInt(width));
  const lines = texts.splitLines(`${text}\n`, false);
  spendText(text.length + lines.length * by.length);
  const rest = lines.slice(1).map((line) => `\n${line || truthy(blank) ? by : ""}${line}`);
  return (truthy(first) ? by : "") + lines[0] + rest.join("");
}

function truncate(value: unknown, length: unknown, killWords: unknown, end: unknown, leeway: unknown): unknown {
  const [most, tail] = [asInt(length), asText(end)];
  const slack = leeway === null ? 5 : asInt(leeway);
  if (most < texts.indexed(tail).length || slack < 0)
    throw new TemplateError("expected a length of more than the end's");
  if (lengthOf(value) <= most + slack) return value;
  const text = textOf(value);
  if (text === undefined) throw new TemplateError(`'${typeName(value)}' cannot be truncated`);
  if (value instanceof Markup) throw new Unsupported("truncate of a text made safe");
  const cut = text.slice(0, texts.unitOf(text, most - texts.indexed(tail).length));
  if (truthy(killWords)) return cut + tail;
  const space = cut.lastIndexOf(" ");
  return (space < 0 ? cut : cut.slice(0, space)) + tail;
}

const wordStarts = new RegExp(`([-${texts.SPACES}({\\[<]+)`);

const titled = (text: string): string =>
  text
    .split(wordStarts)
    .map((word) => {
      const [first = ""] = word;
      return first.toUpperCase() + word.slice(first.length).toLowerCase();
    })
    .join("");

function urlEncode(value: unknown): string {
  const quote = (part: unknown, query: boolean): string => {
    const text = str(part);
    spend(3 * text.length);
    const quoted = encodeURIComponent(text).replace(
      /[!'()*]/g,
      (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
    );
    return query ? quoted.replaceAll("%20", "+") : quoted.replaceAll("%2F", "/");
  };
  const iterable = isDict(value) || itemsOf(value) || (value instanceof PyObject && value.iterate !== undefined);
  if (textOf(value) !== undefined || !iterable) return quote(value, false);
  const pairs = isDict(value) ? dictEntries(value) : [...iterate(value)].map(twoItems);
  return [...pairs].map(([key, item]) => `${quote(key, true)}=${quote(item, true)}`).join("&");
}

function twoItems(pair: unknown): unknown[] {
  const found = [...iterate(pair)];
  if (found.length !== 2) throw new TemplateError(`a pair is expected, not ${found.length} values`);
  return found;
}

function xmlAttributes(value: unknown, autospace: unknown): string {
  if (value instanceof Undefined) value.fail();
  if (!isDict(value)) throw new TemplateError(`'${typeName(value)}' object has no attribute 'items'`);
  const pairs: string[] = [];
  for (const [key, item] of dictEntries(value)) {
    if (item === null || item instanceof Undefined) continue;
    if (/[\s/>=]/.test(asText(key))) throw new TemplateError(`Invalid character in attribute name: ${repr(key)}`);
    pairs.push(`${escaped(key).text}="${escaped(item).text}"`);
  }
  const text = pairs.join(" ");
  return truthy(autospace) && text ? ` ${text}` : text;
}

const escaped = (value: unknown): Markup =>
  value instanceof Markup ? value : new Markup(texts.escapeHtml(str(value)));

function stripTags(value: unknown): string {
  const text = str(value);
  if (/[&]/.test(text)) throw new Unsupported("striptags of a text with &");
  spend(2 * text.length);
  let bare = text;
  for (const [open, close] of [
    ["<!--", "-->"],
    ["<", ">"],
  ] as const)
    bare = withoutBetween(bare, open, close);
  return bare
    .split(new RegExp(`[${texts.SPACES}]+`))
    .filter(Boolean)
    .join(" ");
}

function withoutBetween(text: string, open: string, close: string): string {
  const kept: string[] = [];
  let from = 0;
  for (let at = text.indexOf(open); at >= 0; at = text.indexOf(open, from)) {
    const end = text.indexOf(close, at);
    if (end < 0) break;
    kept.push(text.slice(from, at));
    from = end + close.length;
  }
  return kept.join("") + text.slice(from);
}

/** transformers' `tojson`: Python's `json.dumps` with its arguments. */
function tojson(value: unknown, ensureAscii: unknown, indent: unknown, separators: unknown, sortKeys: unknown): string {
  const pair = separators === null ? undefined : [...iterate(separators)].map((part) => asText(part));
  if (pair && pair.length !== 2) throw new TemplateError("separators must be two texts");
  const style: JsonStyle = {
    ensureAscii: truthy(ensureAscii),
    indent: indent === null ? undefined : (textOf(indent) ?? texts.repeat(" ", asInt(indent))),
    itemSeparator: pair?.[0] ?? (indent === null ? ", " : ","),
    keySeparator: pair?.[1] ?? ": ",
    sortKeys: truthy(sortKeys),
  };
  return toJson(value, style);
}

function replace(value: unknown, old: unknown, by: unknown, count: unknown): string {
  return texts.replace(str(value), str(old), str(by), count === null ? -1 : asInt(count));
}

function formatted(value: unknown, args: readonly unknown[], kwargs: Kwargs): unknown {
  if (args.length > 0 && kwargs.size > 0) {
    throw new TemplateError("can't handle positional and keyword arguments at the same time");
  }
  if (value instanceof Markup) throw new Unsupported("format of a text made safe");
  return percentFormat(str(value), kwargs.size > 0 ? new Dict(kwargs) : new Tuple(args));
}

/** Even what is no mapping is only found out when the items are asked for. */
function* items(value: unknown): Iterable<Tuple> {
  if (value instanceof Undefined) return;
  if (!isDict(value)) throw new TemplateError("Can only get item pairs from a mapping.");
  for (const [key, item] of dictEntries(value)) yield new Tuple([key, item]);
}

function defaultTo(value: unknown, fallback: unknown, boolean: unknown): unknown {
  return value instanceof Undefined || (truthy(boolean) && !truthy(value)) ? fallback : value;
}

const wordCount = (text: string): number => text.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0;

/** The filters that take no other filter or test, by name. */
export const plainFilters: Readonly<Record<string, Filter>> = {
  ...listFilters,
  ...fromKeywords({
    abs: [{}, absolute],
    attr: [{ name: required }, (value, name) => attributeOnly(value, asText(name))],
    capitalize: [{}, onText(texts.capitalize)],
    center: [{ width: 80 }, (value, width) => onText((text) => texts.pad(text, asInt(width), " "))(value)],
    count: [{}, lengthOf],
    d: [{ default_value: "", boolean: false }, defaultTo],
    default: [{ default_value: "", boolean: false }, defaultTo],
    e: [{}, escaped],
    escape: [{}, escaped],
    filesizeformat: [{ binary: false }, fileSize],
    float: [{ default: floatOf(0) }, toFloat],
    forceescape: [{}, (value) => new Markup(texts.escapeHtml(str(value)))],
    indent: [{ width: 4, first: false, blank: false }, indent],
    int: [{ default: 0, base: 10 }, toInt],
    items: [{}, (value) => new Generator(items(value))],
    length: [{}, lengthOf],
    lower: [{}, onText((text) => text.toLowerCase())],
    replace: [{ old: required, new: required, count: null }, replace],
    round: [{ precision: 0, method: "common" }, rounded],
    safe: [{}, (value) => new Markup(str(value))],
    string: [{}, (value) => (value instanceof Markup ? value : str(value))],
    striptags: [{}, stripTags],
    title: [{}, onText(titled)],
    tojson: [{ ensure_ascii: false, indent: null, separators: null, sort_keys: false }, tojson],
    trim: [
      { chars: null },
      (value, chars) => {
        const set = chars === null ? undefined : asText(chars, "strip arg");
        return onText((text) => texts.strip(text, set, true, true))(value);
      },
    ],
    truncate: [{ length: 255, killwords: false, end: "...", leeway: null }, truncate],
    upper: [{}, onText((text) => text.toUpperCase())],
    urlencode: [{}, urlEncode],
    wordcount: [{}, (value) => wordCount(str(value))],
    xmlattr: [{ autospace: true }, xmlAttributes],
  }),
  format: formatted,
};

/** jinja2's filters that are refused by name. */
export const refusedFilters = ["pprint", "random", "urlize", "wordwrap"] as const;
