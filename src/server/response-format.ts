import { z } from "zod";
import type { ResponseFormat } from "../recipes/text-grammar.js";
import { flag, shown, withoutNull } from "./fields.js";

const TYPES = "expected 'text', 'json_object' or 'json_schema'";

const jsonSchema = z.strictObject(
  {
    name: z.string("expected a text").regex(/^[\w-]{1,64}$/, "expected up to 64 letters, digits, _ and -"),
    description: z.string("expected a text").optional(),
    schema: z.record(z.string(), z.unknown(), "expected a JSON Schema, which is an object").default({}),
    strict: flag.optional(),
  },
  "expected an object with name and schema",
);

/** OpenAI's `response_format`; undefined for `{"type": "text"}`. A schema is always held, whatever `strict` says. */
export const responseFormat = formatOf((fields) => fields.json_schema, ["json_schema"]);

/** The same as /v1/responses has it, as `text.format`: the fields of a schema stand beside its type. */
export const textFormat = formatOf((fields) => fields, []);

function formatOf(schemaOf: (fields: Readonly<Record<string, unknown>>) => unknown, where: readonly string[]) {
  return z
    .looseObject({ type: z.string(TYPES) }, "expected an object with a type")
    .superRefine(({ type, ...more }, context) => {
      if (!["text", "json_object", "json_schema"].includes(type)) {
        context.addIssue({ code: "custom", path: ["type"], message: `${TYPES}, got ${shown(type)}` });
      } else if (type === "json_schema") {
        const { success, error } = jsonSchema.safeParse(withoutNull(schemaOf(more)));
        for (const issue of success ? [] : error.issues) {
          context.addIssue({ ...issue, path: [...where, ...issue.path] } as Parameters<typeof context.addIssue>[0]);
        }
      }
    })
    .transform(({ type, ...more }): ResponseFormat | undefined => {
      if (type === "text") return undefined;
      if (type === "json_object") return { type };
      return { type: "json_schema", schema: (schemaOf(more) as { schema?: unknown }).schema ?? {} };
    });
}
