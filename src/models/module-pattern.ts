import { boundedRegex } from "../tensor/regex/index.js";

/**
 * Whether a key of PEFT's `rank_pattern` or `alpha_pattern` means a module path: the whole path, or its end after a dot, as
 * Python's `re.match(rf"(.*\.)?({key})$", path)` has it (peft/utils/other.py, `get_pattern_key`). The key may be somebody
 * else's: the work is bounded by the lengths of both. Throws UserError, beginning with `where`, for what is no expression,
 * or has back-references or conditions.
 */
export function modulePattern(key: string, where: string): (path: string) => boolean {
  boundedRegex(key, "python", where); // what is wrong with the key is told by the key's own letters
  const regex = boundedRegex(`(?:.*\\.)?(?:${key})\\n?`, "python", where);
  return (path) => regex.matchesWhole(path);
}

/**
 * Whether a module path as a whole is what PEFT's `target_modules` or `exclude_modules`, given as one expression, means: `re.fullmatch`.
 * Bounded and refused as `modulePattern` is.
 */
export function wholeModulePattern(pattern: string, where: string): (path: string) => boolean {
  const regex = boundedRegex(pattern, "python", where);
  return (path) => regex.matchesWhole(path);
}
