import { UserError } from "../tensor/index.js";
import { parseJson } from "../tokenizers/json.js";
import { shown } from "./shown.js";

/** The value of JSON text, as `parseJson` reads it. Throws UserError that begins "not JSON" or "nested deeper". */
export function jsonValue(text: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    const { message } = error as Error;
    throw new UserError(message.startsWith("nested deeper") ? message : `not JSON (${shown(message, 200)})`);
  }
}
