import { usageError } from "./usage.js";

/** The number that `--processes` gives; undefined where it was not given. Throws a usage error for any other than one from 1. */
export function processesOf(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const count = Number(value);
  if (Number.isInteger(count) && count >= 1) return count;
  throw usageError(`--processes: expected a whole number from 1, got '${value}'`);
}

/** A command line without the options by which processes are started. */
export function withoutOwn(words: readonly string[]): string[] {
  const isValue = (i: number) => words[i - 1] === "--processes";
  return words.filter((word, i) => !isValue(i) && !/^--(supervise$|processes(=|$))/.test(word));
}
