import { UserError } from "../tensor/index.js";
import { jsonValue } from "./json-value.js";
import { shown } from "./shown.js";

/** An object of a row: the row itself, a turn, a part of its content. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The fields of an object, and which of them were asked for: so that none is dropped without being known. */
export interface Fields {
  /** The value; undefined where there is none or null. */
  value(name: string): unknown;
  /** Throws UserError when it is not text. */
  text(name: string): string;
  /** Text, or "" where there is none. Throws UserError for anything else. */
  optionalText(name: string): string;
  /** A list, or JSON text of one; undefined where there is none. Throws UserError for anything else. */
  list(name: string): readonly unknown[] | undefined;
  /** Names, with their values, that were not asked for and hold something. */
  unused(): (readonly [name: string, value: unknown])[];
}

/** Opens an object's fields; `where` is what stands before a field's name in messages, such as "messages[0].". */
export function openFields(object: JsonObject, where = ""): Fields {
  const asked = new Set<string>();
  const value = (name: string) => {
    asked.add(name);
    return Object.hasOwn(object, name) ? (object[name] ?? undefined) : undefined;
  };
  const optionalText = (name: string) => {
    const found = value(name) ?? "";
    if (typeof found !== "string") throw new UserError(`${where}${name} must be a string, not ${kindOf(found)}`);
    return found;
  };
  return {
    value,
    optionalText,
    text(name) {
      if (value(name) === undefined)
        throw new UserError(`${where}${name} must be a string, not ${kindOf(object[name])}`);
      return optionalText(name);
    },
    list(name) {
      const found = value(name);
      if (found === undefined || found === "") return undefined;
      const list = typeof found === "string" ? listFromText(found, `${where}${name}`) : found;
      if (!Array.isArray(list)) throw new UserError(`${where}${name} must be a list, not ${kindOf(list)}`);
      return list;
    },
    unused: () => Object.entries(object).filter(([name, held]) => !asked.has(name) && !isEmpty(held)),
  };
}

function listFromText(text: string, where: string): unknown {
  try {
    return jsonValue(text);
  } catch (error) {
    const why = (error as Error).message;
    const python = /^\s*\[?\s*\{?'/.test(text) ? "; it looks like Python's own notation: save the rows as JSONL" : "";
    throw new UserError(`${where} must be a list, or JSON text of one, and its text is ${why}${python}`);
  }
}

/** An answer that is text. Throws UserError when there is nothing in it. */
export function answer(fields: Fields, key: string): string {
  const value = fields.text(key);
  if (value.trim() === "") throw new UserError(`${key} is empty: there is nothing to learn from it`);
  return value;
}

/** Does the object have this field, and is it not null? */
export function has(object: JsonObject, name: string): boolean {
  return Object.hasOwn(object, name) && object[name] !== null;
}

/** Is there nothing in it: null, an empty text or an empty list? */
export function isEmpty(value: unknown): boolean {
  return value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0);
}

/** Throws UserError when it is not an object. */
export function asObject(value: unknown, where: string): JsonObject {
  if (kindOf(value) === "object") return value as JsonObject;
  throw new UserError(`${where} must be an object, not ${kindOf(value)}`);
}

/** What a value is, in JSON's words. */
export function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  const held = unwrapped(value);
  return typeof held === "bigint" ? "number" : typeof held;
}

/** The value itself of an object that stands for one, as readers of JSON have for numbers that JavaScript would change. */
export function unwrapped(value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? value : value.valueOf();
}

/** A value for a message: short, and text in quotes. */
export function literal(value: unknown): string {
  const held = unwrapped(value);
  if (typeof held === "string") return shown(JSON.stringify(held));
  return held === undefined || (typeof held === "object" && held !== null) ? kindOf(held) : shown(String(held));
}

/** An object's first field names, for a message. */
export function keysOf(object: JsonObject): string {
  const names = Object.keys(object);
  const first = names
    .slice(0, 8)
    .map((name) => shown(name))
    .join(", ");
  return names.length === 0 ? "none" : `${first}${names.length > 8 ? ", ..." : ""}`;
}

/** Characters of all texts in a value, and one for everything else. */
export function textSize(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (value === null || typeof value !== "object") return 1;
  return Object.values(value).reduce((sum: number, part) => sum + textSize(part), 1);
}
