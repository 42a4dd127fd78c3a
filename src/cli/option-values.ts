import type { Options } from "./io.js";
import { choiceArgument, usageError } from "./usage.js";

/** A numeric option. Throws a usage error naming the flag when it is not a number in its range. */
export function numberOption(
  options: Options,
  name: string,
  { least = 0, most = Number.MAX_SAFE_INTEGER, whole = false } = {},
): number {
  const text = String(options[name]).trim();
  const value = text === "" ? Number.NaN : Number(text);
  if (value >= least && value <= most && (!whole || Number.isInteger(value))) return value;
  const range = most === Number.MAX_SAFE_INTEGER ? `at least ${least}` : `from ${least} to ${most}`;
  throw usageError(`${flagOf(name)}: expected a ${whole ? "whole " : ""}number ${range}, got '${text}'`);
}

/** An option that is one of a few words. Throws a usage error naming the flag and the words otherwise. */
export function choiceOption<const T extends string>(options: Options, name: string, words: readonly T[]): T {
  return choiceArgument(flagOf(name), String(options[name]), words);
}

const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
