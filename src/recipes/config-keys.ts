import { z } from "zod";
import { trainSchema } from "./config-schema.js";

/** One key of the config, for references and look-ups. */
export interface ConfigKey {
  /** Dotted, as on disk: `lora.r`. */
  readonly key: string;
  readonly schema: z.ZodType;
  readonly type: string;
  /** Undefined: the key is required. */
  readonly fallback: unknown;
  readonly required: boolean;
  readonly description: string;
  readonly isPath: boolean;
  /** Nothing but text can be its value. */
  readonly takesText: boolean;
}

type JsonSchema = {
  type?: string | string[];
  enum?: unknown[];
  anyOf?: JsonSchema[];
  items?: JsonSchema;
  prefixItems?: JsonSchema[];
  /** What the keys of a map name. */
  by?: string;
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema;
  default?: unknown;
};

let known: readonly ConfigKey[] | undefined;

/** Every key of the config in the table's order, sections flattened to dotted keys. */
export function configKeys(): readonly ConfigKey[] {
  known ??= keysOfSection("", trainSchema);
  return known;
}

function keysOfSection(prefix: string, { shape }: z.ZodObject): ConfigKey[] {
  return Object.entries(shape).flatMap(([name, schema]) => {
    const section = sectionOf(schema);
    return section
      ? keysOfSection(`${prefix}${name}.`, section)
      : [describeKey(`${prefix}${name}`, schema as z.ZodType)];
  });
}

/** The object inside a section's schema, or undefined when the key holds a value. */
export function sectionOf(schema: unknown): z.ZodObject | undefined {
  const inner = schema instanceof z.ZodPrefault ? schema.unwrap() : schema;
  return inner instanceof z.ZodObject ? inner : undefined;
}

function describeKey(key: string, schema: z.ZodType): ConfigKey {
  const json = z.toJSONSchema(schema, { io: "input" }) as JsonSchema;
  const required = !schema.safeParse(undefined).success;
  const { description = "", isPath = false } = (schema.meta() ?? {}) as { description?: string; isPath?: boolean };
  const type = isPath ? typeText(json).replaceAll("text", "path") : typeText(json);
  const takesText = json.type === "string" && !json.enum;
  return { key, schema, type, fallback: json.default, required, description, isPath, takesText };
}

const plural = (type: string): string => (type.endsWith("}") ? type : `${type}s`);

function typeText(json: JsonSchema): string {
  if (json.enum) return json.enum.map((v) => `\`${v}\``).join(", ");
  if (json.anyOf) return [...new Set(json.anyOf.map(typeText))].join(" or ");
  if (json.prefixItems) return `list of ${json.prefixItems.length} numbers`;
  if (json.type === "array")
    return `list of ${(json.items?.anyOf ?? [json.items ?? {}]).map(typeText).map(plural).join(" or ")}`;
  if (json.properties) return `{${Object.keys(json.properties).join(", ")}}`;
  const { additionalProperties: inside } = json;
  if (inside) return `${inside.type ? `${typeText(inside)}s` : "values"} by ${json.by ?? "name"}`;
  if (Array.isArray(json.type)) return json.type.map((type) => typeText({ type })).join(" or ");
  const words: Record<string, string> = { integer: "whole number", boolean: "true or false", string: "text" };
  return words[json.type ?? ""] ?? json.type ?? "anything";
}
