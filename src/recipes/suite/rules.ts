import { z } from "zod";
import { boundedRegex } from "../../tensor/regex/index.js";
import { countWords, endsWith, isList, normalise, saysWords } from "../judge.js";

const text = z.string().min(1);
/** One text or a list of them. */
export const texts = z.union([text, z.array(text).min(1)]).transform((value) => [value].flat());

/** A test that an answer passes or not. */
interface Rule<T> {
  readonly schema: z.ZodType<T, unknown>;
  /** As a report says it, behind "an answer". */
  readonly says: (wanted: T) => string;
  /** `refused`: the answer says that it does not know, in any way that the suite knows. */
  readonly holds: (answer: string, wanted: T, refused: boolean) => boolean;
}

const rule = <T>(one: Rule<T>): Rule<T> => one;
const quoted = (words: readonly string[], between: string): string => words.map((w) => `"${w}"`).join(between);

/** What a suite can ask of an answer, by the key that its file has for it. Words are compared as `normalise` leaves them. */
export const RULES = {
  answer: rule<string[]>({
    schema: texts,
    says: (wanted) => `says ${quoted(wanted, " or ")}`,
    holds: (answer, wanted) => wanted.some((words) => saysWords(answer, words)),
  }),
  contains: rule<string[]>({
    schema: texts,
    says: (wanted) => `says ${quoted(wanted, " and ")}`,
    holds: (answer, wanted) => wanted.every((words) => saysWords(answer, words)),
  }),
  lacks: rule<string[]>({
    schema: texts,
    says: (wanted) => `does not say ${quoted(wanted, " or ")}`,
    holds: (answer, wanted) => !wanted.some((words) => saysWords(answer, words)),
  }),
  starts_with: rule<string>({
    schema: text,
    says: (wanted) => `starts with "${wanted}"`,
    holds: (answer, wanted) => normalise(answer).startsWith(normalise(wanted)),
  }),
  ends_with: rule<string>({
    schema: text,
    says: (wanted) => `ends with "${wanted}"`,
    holds: endsWith,
  }),
  matches: rule<string>({
    schema: text,
    says: (wanted) => `matches /${wanted}/`,
    holds: (answer, wanted) => boundedRegex(wanted, "python", "matches").in(answer)(0) !== undefined,
  }),
  max_words: rule<number>({
    schema: z.int().min(1),
    says: (wanted) => `has at most ${wanted} words`,
    holds: (answer, wanted) => countWords(answer) <= wanted,
  }),
  list: rule<boolean>({
    schema: z.boolean(),
    says: (wanted) => (wanted ? "is a list" : "is no list"),
    holds: (answer, wanted) => isList(answer) === wanted,
  }),
  refuses: rule<boolean>({
    schema: z.boolean(),
    says: (wanted) => (wanted ? "says that it does not know" : "does not say that it does not know"),
    holds: (_answer, wanted, refused) => refused === wanted,
  }),
} as const;

export type RuleName = keyof typeof RULES;
export const RULE_NAMES = Object.keys(RULES) as RuleName[];

/** The rules that a question or a behaviour names; all of them have to hold. */
export type Rules = { readonly [K in RuleName]?: Parameters<(typeof RULES)[K]["says"]>[0] | undefined };

/** The schema's keys for rules, all of them optional. */
export const ruleShape = Object.fromEntries(RULE_NAMES.map((name) => [name, RULES[name].schema.optional()])) as {
  [K in RuleName]: z.ZodOptional<(typeof RULES)[K]["schema"]>;
};

const named = (rules: Rules): [Rule<unknown>, unknown][] =>
  RULE_NAMES.flatMap((name) =>
    rules[name] === undefined ? [] : [[RULES[name] as unknown as Rule<unknown>, rules[name]]],
  );

/** Whether an answer keeps every rule. Throws UserError for an expression that cannot be used. */
export const keeps = (answer: string, rules: Rules, refused: boolean): boolean =>
  named(rules)
    .map(([one, wanted]) => one.holds(answer, wanted, refused))
    .every(Boolean);

/** `has at most 30 words, is no list` */
export const saysRules = (rules: Rules): string =>
  named(rules)
    .map(([one, wanted]) => one.says(wanted))
    .join(", ");
