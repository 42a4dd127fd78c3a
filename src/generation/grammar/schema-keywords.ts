import { nearest, UserError } from "../../tensor/index.js";

/** A JSON Schema (draft 2020-12) that is an object. */
export type Schema = Readonly<Record<string, unknown>>;

export type TypeName = "string" | "number" | "integer" | "boolean" | "null" | "object" | "array";

/** Keywords that hold something of one type. */
export const KEYWORDS: Readonly<Record<string, readonly TypeName[]>> = {
  minLength: ["string"],
  maxLength: ["string"],
  pattern: ["string"],
  format: ["string"],
  minimum: ["number"],
  maximum: ["number"],
  exclusiveMinimum: ["number"],
  exclusiveMaximum: ["number"],
  multipleOf: ["number"],
  items: ["array"],
  prefixItems: ["array"],
  minItems: ["array"],
  maxItems: ["array"],
  properties: ["object"],
  required: ["object"],
  additionalProperties: ["object"],
  propertyNames: ["object"],
};

/** Keywords of any type. */
const COMMON = ["type", "const", "enum", "anyOf", "oneOf", "allOf", "$ref"];

/** Keywords that say nothing of which values fit. */
const NOTES: ReadonlySet<string> = new Set([
  ...["$schema", "$id", "id", "$comment", "$defs", "definitions", "title", "description", "default", "example"],
  ...["examples", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType"],
]);

/** Values of keywords that are not held, with which they ask for nothing. */
const IDLE: Readonly<Record<string, readonly unknown[]>> = {
  uniqueItems: [false],
  minProperties: [0],
  minContains: [0],
  unevaluatedProperties: [true],
  unevaluatedItems: [true],
  additionalItems: [true, false],
};

/** Keywords that are known and not held. */
const NOT_HELD: ReadonlySet<string> = new Set([
  ...["not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "patternProperties"],
  ...["minProperties", "maxProperties", "uniqueItems", "contains", "minContains", "maxContains", "contentSchema"],
  ...["unevaluatedProperties", "unevaluatedItems", "additionalItems", "$dynamicRef", "$dynamicAnchor", "$anchor"],
]);

/** Throws UserError naming a keyword that is not held, or not known. */
export function checkKeywords(schema: Schema, where: string): void {
  for (const [key, value] of Object.entries(schema)) {
    if (NOTES.has(key) || COMMON.includes(key) || Object.hasOwn(KEYWORDS, key)) continue;
    if (Object.hasOwn(IDLE, key) && IDLE[key]!.includes(value)) continue;
    if (NOT_HELD.has(key)) throw new UserError(`${where}: '${key}' cannot be held; leave it out and check the answer`);
    const near = nearest(key, [...COMMON, ...Object.keys(KEYWORDS), ...NOTES]);
    throw new UserError(
      `${where}: '${key.slice(0, 100)}' is no keyword that is known${near ? `; did you mean '${near}'?` : ""}`,
    );
  }
}

/** What of a schema says which values fit. */
export function withoutNotes(schema: Schema): Schema {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => !NOTES.has(key) && !Object.hasOwn(IDLE, key)));
}

const TYPES: readonly TypeName[] = ["string", "number", "integer", "boolean", "null", "object", "array"];

/** The types that a schema allows: those it names, else those that its keywords speak of, else all. */
export function typesOf(schema: Schema, where: string): readonly TypeName[] {
  const { type } = schema;
  const list = type === undefined ? undefined : Array.isArray(type) ? type : [type];
  const bad = list?.find((one) => !TYPES.includes(one as TypeName));
  if (bad !== undefined || list?.length === 0) {
    throw new UserError(`${where}.type: expected one of ${TYPES.join(", ")}, or a list of them`);
  }
  if (list) return list.includes("number") ? list.filter((one) => one !== "integer") : list;
  const spoken = new Set(Object.keys(schema).flatMap((key) => (Object.hasOwn(KEYWORDS, key) ? KEYWORDS[key]! : [])));
  return spoken.size > 0 ? [...spoken] : TYPES.filter((one) => one !== "integer");
}

/** Is a JSON value of one of these types? */
export function isOf(value: unknown, types: readonly TypeName[]): boolean {
  if (value === null) return types.includes("null");
  if (Array.isArray(value)) return types.includes("array");
  if (Number.isInteger(value) && types.includes("integer")) return true;
  return types.includes(typeof value as TypeName);
}

export const isSchema = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A whole number from 0, or undefined where there is none. Throws UserError for anything else. */
export function countOf(schema: Schema, key: string, where: string): number | undefined {
  const value = schema[key];
  if (value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0))
    return value as number | undefined;
  throw new UserError(`${where}.${key}: expected a whole number from 0`);
}

/** A finite number, or undefined where there is none. Throws UserError for anything else. */
export function numberOf(schema: Schema, key: string, where: string): number | undefined {
  const value = schema[key];
  if (value === undefined || Number.isFinite(value)) return value as number | undefined;
  throw new UserError(`${where}.${key}: expected a number`);
}

/** A list, or undefined where there is none. Throws UserError for anything else. */
export function listOf(schema: Schema, key: string, where: string): readonly unknown[] | undefined {
  const value = schema[key];
  if (value === undefined || Array.isArray(value)) return value as readonly unknown[] | undefined;
  throw new UserError(`${where}.${key}: expected a list`);
}
