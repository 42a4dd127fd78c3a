import { UserError } from "../tensor/errors.js";
import { EXIT } from "./io.js";

/** A mistake in how a verb was called. */
export function usageError(message: string): UserError {
  return new UserError(message, { exitCode: EXIT.usage });
}
