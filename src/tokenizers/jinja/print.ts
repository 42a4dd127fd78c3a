import { compareText } from "./text.js";
import {
  DictView,
  dictEntries,
  dictSize,
  hashOf,
  isDict,
  isFloat,
  isInt,
  itemsOf,
  Markup,
  numberOf,
  type PyObject,
  Range,
  Tuple,
  typeName,
  Undefined,
} from "./values.js";
import { STEP, spend, spendText, TemplateError, Unsupported } from "./work.js";

/** Python's `repr` of a float: the fewest digits that read back as it, with an exponent from 1e16 and below 1e-4. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [mantissa, exponent] = value.toExponential().split("e") as [string, string];
  const power = Number(exponent);
  if (power >= -4 && power < 16) {
    const plain = String(value);
    return plain.includes(".") ? plain : `${plain}.0`;
  }
  return `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** Python's `str`: what `{{ value }}` writes. */
export function str(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof Undefined) return "";
  return repr(value);
}

/** Python's `repr`. Throws Unsupported for what would show an address in memory. */
export function repr(value: unknown): string {
  const pieces: string[] = [];
  writeRepr(value, pieces);
  return joined(pieces);
}

/** Joins pieces whose lengths were not counted yet. */
export function joined(pieces: readonly string[]): string {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  spendText(length);
  return pieces.join("");
}

function writeRepr(value: unknown, out: string[]): void {
  spend(STEP);
  if (typeof value === "string") out.push(quoted(value));
  else if (value === null || value === undefined) out.push("None");
  else if (typeof value === "boolean") out.push(value ? "True" : "False");
  else if (isInt(value)) out.push(intText(value));
  else if (isFloat(value)) out.push(floatText(numberOf(value)));
  else if (Array.isArray(value)) writeItems(value, "[", "]", out);
  else if (value instanceof Tuple) writeItems(value.items, "(", value.items.length === 1 ? ",)" : ")", out);
  else if (isDict(value)) writeDict(value, out);
  else out.push(objectText(value as PyObject, out));
}

function objectText(value: PyObject, out: string[]): string {
  if (value instanceof Undefined) return "Undefined";
  if (value instanceof Markup) return `Markup(${quoted(value.text)})`;
  if (value instanceof Range) {
    const { start, stop, step } = value;
    return step === 1 ? `range(${start}, ${stop})` : `range(${start}, ${stop}, ${step})`;
  }
  if (value instanceof DictView) {
    out.push(value.type, "(");
    writeItems([...value.iterate()], "[", "]", out);
    return ")";
  }
  const text = value.print?.();
  if (text === undefined)
    throw new Unsupported(`printing a '${value.type}' object, which shows its address in memory,`);
  return text;
}

function intText(value: number | bigint | boolean): string {
  if (typeof value === "number" && !Number.isSafeInteger(value)) return BigInt(value).toString();
  return String(value);
}

function writeItems(items: readonly unknown[], open: string, close: string, out: string[]): void {
  out.push(open);
  items.forEach((item, i) => {
    if (i > 0) out.push(", ");
    writeRepr(item, out);
  });
  out.push(close);
}

function writeDict(dict: object, out: string[]): void {
  let first = true;
  out.push("{");
  for (const [key, value] of dictEntries(dict)) {
    if (!first) out.push(", ");
    first = false;
    writeRepr(key, out);
    out.push(": ");
    writeRepr(value, out);
  }
  out.push("}");
}

const unprintable = /[^\P{C}]|[^\P{Z} ]/gu;
const shortEscapes: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

/** A str as Python's source would have it. */
function quoted(text: string): string {
  spend(text.length);
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text
    .replace(/[\\\n\r\t]/g, (character) => shortEscapes[character]!)
    .replaceAll(quote, `\\${quote}`)
    .replace(unprintable, hexEscape);
  spend(escaped.length);
  return quote + escaped + quote;
}

function hexEscape(character: string): string {
  const code = character.codePointAt(0)!;
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** Arguments of Python's `json.dumps`, as transformers' `tojson` takes them. */
export interface JsonStyle {
  readonly ensureAscii: boolean;
  readonly indent: string | undefined;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sortKeys: boolean;
}

/** Python's `json.dumps`. Throws TemplateError for what it refuses. */
export function toJson(value: unknown, style: JsonStyle): string {
  const pieces: string[] = [];
  writeJson(value, style, "\n", pieces);
  return joined(pieces);
}

function writeJson(value: unknown, style: JsonStyle, newline: string, out: string[]): void {
  spend(STEP);
  if (typeof value === "string") out.push(jsonText(value, style));
  else if (value instanceof Markup) out.push(jsonText(value.text, style));
  else if (value === null || value === undefined) out.push("null");
  else if (typeof value === "boolean") out.push(String(value));
  else if (isInt(value)) out.push(intText(value));
  else if (isFloat(value)) out.push(jsonFloat(numberOf(value)));
  else if (itemsOf(value)) writeJsonItems(itemsOf(value)!, style, newline, out);
  else if (isDict(value)) writeJsonDict(value, style, newline, out);
  else throw new TemplateError(`Object of type ${typeName(value)} is not JSON serializable`);
}

function jsonFloat(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  return Number.isFinite(value) ? floatText(value) : value > 0 ? "Infinity" : "-Infinity";
}

function jsonText(text: string, { ensureAscii }: JsonStyle): string {
  spend(text.length);
  const json = JSON.stringify(text);
  if (!ensureAscii) return json;
  return json.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Line breaks and separators round the items of a list or dict, when there is an indent. */
function layout(style: JsonStyle, newline: string) {
  const inner = style.indent === undefined ? "" : newline + style.indent;
  return {
    inner: newline + (style.indent ?? ""),
    open: inner,
    between: style.itemSeparator + inner,
    close: style.indent === undefined ? "" : newline,
  };
}

function writeJsonItems(items: readonly unknown[], style: JsonStyle, newline: string, out: string[]): void {
  if (items.length === 0) return void out.push("[]");
  const { inner, open, between, close } = layout(style, newline);
  out.push("[", open);
  items.forEach((item, i) => {
    if (i > 0) out.push(between);
    writeJson(item, style, inner, out);
  });
  out.push(close, "]");
}

function writeJsonDict(dict: object, style: JsonStyle, newline: string, out: string[]): void {
  if (dictSize(dict) === 0) return void out.push("{}");
  const { inner, open, between, close } = layout(style, newline);
  const entries = style.sortKeys ? sortedEntries(dict) : dictEntries(dict);
  let first = true;
  out.push("{", open);
  for (const [key, value] of entries) {
    if (!first) out.push(between);
    first = false;
    out.push(jsonText(jsonKey(key), style), style.keySeparator);
    writeJson(value, style, inner, out);
  }
  out.push(close, "}");
}

function sortedEntries(dict: object): (readonly [unknown, unknown])[] {
  const entries = [...dictEntries(dict)];
  const order = (a: unknown, b: unknown): number => {
    if (typeof a === "string" && typeof b === "string") return compareText(a, b);
    const [x, y] = [hashOf(a), hashOf(b)];
    if (typeof x === "number" && typeof y === "number") return x - y;
    throw new TemplateError(`'<' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
  };
  return entries.sort(([a], [b]) => order(a, b));
}

function jsonKey(key: unknown): string {
  if (typeof key === "string") return key;
  if (key instanceof Markup) return key.text;
  if (key === null) return "null";
  if (typeof key === "boolean") return String(key);
  if (isInt(key)) return intText(key);
  if (isFloat(key)) return jsonFloat(numberOf(key));
  throw new TemplateError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}
