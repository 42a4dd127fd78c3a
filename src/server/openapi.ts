import { z } from "zod";
import type { ServerLimits } from "./limits.js";
import type { Routes } from "./route.js";

const ERROR = {
  type: "object",
  properties: {
    error: {
      type: "object",
      properties: {
        message: { type: "string" },
        type: { type: "string" },
        param: { type: ["string", "null"] },
        code: { type: ["string", "null"] },
      },
      required: ["message", "type", "param", "code"],
    },
  },
  required: ["error"],
};

/** An OpenAPI 3.1 document of these routes, their bodies as the schemas by which they are read. */
export function openApiDocument(routes: Routes, limits: ServerLimits): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const [name, { summary, body }] of Object.entries(routes)) {
    const [method, pattern] = name.split(" ") as [string, string];
    const path = pattern.replace(/:(\w+)(\{[^}]*\})?/g, "{$1}");
    const parameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => {
      return { name: parameter, in: "path", required: true, schema: { type: "string" } };
    });
    const requestBody = body && {
      required: true,
      content: { "application/json": { schema: bodySchema(body(limits)) } },
    };
    const operation = {
      summary,
      operationId: `${method.toLowerCase()}${path.replace(/\W+(\w?)/g, (_, letter: string) => letter.toUpperCase())}`,
      ...(parameters.length > 0 ? { parameters } : {}),
      ...(requestBody ? { requestBody } : {}),
      responses: { 200: { description: "as asked" }, default: { $ref: "#/components/responses/Error" } },
    };
    paths[path] = { ...paths[path], [method.toLowerCase()]: operation };
  }
  const error = { description: "what is wrong, in OpenAI's shape", content: { "application/json": { schema: ERROR } } };
  return {
    openapi: "3.1.0",
    info: {
      title: "lowrank",
      version: "1",
      description: "Texts from one base and its adapters, as OpenAI's API has them",
    },
    security: [{ key: [] }],
    paths,
    components: {
      responses: { Error: error },
      securitySchemes: { key: { type: "http", scheme: "bearer", description: "where the server asks for a key" } },
    },
  };
}

/** A body as JSON Schema: what a client may send. What a schema alone cannot say is left open. */
function bodySchema(schema: z.ZodType): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    io: "input",
    unrepresentable: "any",
    override({ zodSchema, jsonSchema }) {
      const { def } = zodSchema._zod;
      // What is only tidied up before it is read has the shape of what reads it.
      if (def.type === "pipe" && def.in._zod.def.type === "transform")
        Object.assign(jsonSchema, bodySchema(def.out as z.ZodType));
    },
  });
  return rest;
}
