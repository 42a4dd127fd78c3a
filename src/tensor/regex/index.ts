import { UserError } from "../errors.js";
import { type Dialect, parse } from "./parse.js";
import { compile } from "./program.js";
import { after, type Budget, Search } from "./search.js";

export type { Dialect } from "./parse.js";

/** The first match that begins at `from` or behind it, as [start, end) in UTF-16 code units. */
export type Find = (from: number) => readonly [start: number, end: number] | undefined;

/** A regular expression whose work is bounded, whoever wrote it. */
export interface BoundedRegex {
  /** Finds the matches of one text, one after the other. */
  in(text: string): Find;
  /** Python's `re.fullmatch`. */
  matchesWhole(text: string): boolean;
}

const STEPS = 100_000;
const STEPS_PER_CHARACTER = 64;

/**
 * Compiles an expression that may be somebody else's: `where` names the file and key in errors. What leads nowhere is
 * remembered, so nested repeats cost no more than others; searches of a text of n characters that still need more than
 * 64 n + 100,000 steps throw a UserError. Throws UserError for what `parse` refuses.
 */
export function boundedRegex(source: string, dialect: Dialect, where: string): BoundedRegex {
  const program = compile(parse(source, dialect, where), where, source);
  const budget = (text: string): Budget => ({
    steps: 0,
    most: STEPS + STEPS_PER_CHARACTER * text.length,
    refuse: () => tooSlow(source, where),
  });
  return {
    in(text) {
      const all = budget(text);
      return (from) => {
        const search = new Search(program, text, all);
        for (let at = from; at <= text.length; at = after(text, at)) {
          const end = search.match(0, at);
          if (end >= 0) return [at, end];
        }
        return undefined;
      };
    },
    matchesWhole: (text) => new Search(program, text, budget(text)).match(0, 0, text.length) >= 0,
  };
}

function tooSlow(source: string, where: string): UserError {
  return new UserError(
    `${where}: the regular expression ${JSON.stringify(source.slice(0, 200))} takes too long on this text: ` +
      "it tries the same characters again and again; write it without repeats of what repeats",
  );
}
