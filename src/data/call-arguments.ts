import { UserError } from "../tensor/index.js";
import type { JsonObject } from "./fields.js";
import { jsonValue } from "./json-value.js";

/** A called function with its arguments as a value, where they are JSON text. Throws UserError that begins with "arguments". */
export function withParsedArguments(called: JsonObject): JsonObject {
  const text = called.arguments;
  if (typeof text !== "string") return called;
  try {
    return { ...called, arguments: text.trim() === "" ? {} : jsonValue(text) };
  } catch (error) {
    throw new UserError(`arguments must be JSON text, and is ${(error as Error).message}`);
  }
}
