import { z } from "zod";
import { nearest } from "../tensor/index.js";
import { ApiError } from "./errors.js";

/** A field that a server has no use for: which values ask for nothing, and why any other is refused. */
export interface Unused {
  neutral(value: unknown, body: Readonly<Record<string, unknown>>): boolean;
  readonly why?: string;
}
export type UnusedFields = Readonly<Record<string, Unused>>;

/** A refusal of one field, with the code that says of which kind it is. */
export function refused(
  param: string,
  why: string,
  code:
    | "invalid_value"
    | "missing_required_parameter"
    | "unknown_parameter"
    | "unsupported_parameter"
    | "previous_response_not_found",
): ApiError {
  const name = param.slice(0, 100);
  return new ApiError(400, `${name}: ${why}`, { param: name, code });
}

/**
 * A body's fields, of which null and what is neutral count as not given. Throws ApiError naming the field that is wrong, not
 * supported or not known.
 */
export function parseBody<T extends z.ZodObject>(
  schema: T,
  body: Readonly<Record<string, unknown>>,
  unused: UnusedFields,
): z.output<T> {
  const wanted: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(body)) {
    if (value === null) continue;
    const known = Object.hasOwn(schema.shape, key);
    const rule = Object.hasOwn(unused, key) ? unused[key] : undefined;
    if (rule?.neutral(value, body)) continue;
    if (known) wanted[key] = value;
    else if (rule) throw refused(key, rule.why ?? NOT_HERE, "unsupported_parameter");
    else throw unknownField(key, [...Object.keys(schema.shape), ...Object.keys(unused)]);
  }
  const result = schema.safeParse(wanted);
  if (result.success) return result.data;
  throw fieldError(result.error.issues[0]!, wanted);
}

const NOT_HERE = "this value is not supported by this server; leave the field out";

function unknownField(key: string, known: readonly string[]): ApiError {
  const hint = nearest(key, known);
  return refused(key, `this field is not supported${hint ? `; did you mean '${hint}'?` : ""}`, "unknown_parameter");
}

/** What a schema finds wrong, in a client's words: the field, what was expected, what came. */
function fieldError(issue: z.core.$ZodIssue, body: Readonly<Record<string, unknown>>): ApiError {
  const path = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return refused(path.join("."), `'${issue.keys[0]!.slice(0, 100)}' is not supported in it`, "unknown_parameter");
  }
  const value = path.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], body);
  if (value === undefined) return refused(path.join("."), `is missing; ${issue.message}`, "missing_required_parameter");
  const got = /^(expected|at most)/.test(issue.message) ? `, got ${shown(value)}` : "";
  return refused(path.join("."), issue.message + got, "invalid_value");
}

/** A value as a message shows it: short, whatever came. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  if (typeof value === "string") return value.length > 60 ? `a text of ${value.length} characters` : `'${value}'`;
  return String(value);
}

/** A whole number; `most`: a greater one is refused. */
export function whole(least: number, most: number = Number.MAX_SAFE_INTEGER) {
  const error =
    most < Number.MAX_SAFE_INTEGER
      ? `expected a whole number from ${least} to ${most}`
      : least > Number.MIN_SAFE_INTEGER
        ? `expected a whole number from ${least}`
        : "expected a whole number";
  return z.int({ error }).min(least, error).max(most, error);
}

export function number(least: number, most: number) {
  const error = `expected a number from ${least} to ${most}`;
  return z.number({ error }).min(least, error).max(most, error);
}

export const flag = z.boolean({ error: "expected true or false" });

/** An object's fields but those that are null. */
export function withoutNull(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== null));
}
