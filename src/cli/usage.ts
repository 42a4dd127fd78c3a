import { nearest, UserError } from "../tensor/errors.js";

/** A mistake in how a verb was called. */
export function usageError(message: string): UserError {
  return new UserError(message, { code: "invalid_usage" });
}

/** A word that is one of a few. Throws a usage error that names them, and the nearest, otherwise. */
export function choiceArgument<T extends string>(what: string, given: string, words: readonly T[]): T {
  const found = words.find((word) => word === given);
  if (found !== undefined) return found;
  const near = nearest(given, words);
  throw usageError(
    `${what}: expected one of ${words.join(", ")}, got '${given}'${near ? `; did you mean ${near}?` : ""}`,
  );
}
