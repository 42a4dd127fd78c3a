import { z } from "zod";
import { folderOf, join } from "../../formats/files.js";
import type { Platform } from "../../platform/platform.js";
import { nearest, shown, UserError } from "../../tensor/index.js";
import { readYaml } from "../config-yaml.js";
import { keeps, RULE_NAMES, type Rules, ruleShape, saysRules, texts } from "./rules.js";

/** What a question of a suite is there for. */
export const SECTIONS = ["facts", "unanswerable", "general", "behaviour"] as const;
export type Section = (typeof SECTIONS)[number];

const words = z.string().min(1);
const oneRule = (value: Rules): boolean => RULE_NAMES.some((name) => value[name] !== undefined);
const noRule = { error: `needs one of ${RULE_NAMES.join(", ")}` };
const question = z.strictObject({ ask: texts, ...ruleShape }).refine(oneRule, noRule);
const behaviour = z
  .strictObject({ name: words.optional(), ask: texts.optional(), ...ruleShape })
  .refine(oneRule, noRule);

const schema = z.strictObject({
  name: words.optional(),
  system: words.optional(),
  apply_chat_template: z.boolean().optional(),
  max_new_tokens: z.int().min(1).max(4096).default(64),
  refusals: z.array(words).default([]),
  facts: z.array(question).default([]),
  unanswerable: z.array(words).default([]),
  general: z.array(question).default([]),
  behaviour: z.array(behaviour).default([]),
  texts: z.union([words, z.array(words).min(1)]).optional(),
});

/** A test of every answer, or of those to its own questions. */
export interface Behaviour {
  readonly name: string;
  readonly rules: Rules;
}

/** A question and what a right answer is. */
export interface SuiteQuestion {
  readonly section: Section;
  readonly question: string;
  /** Empty for what cannot be known, and for questions of a behaviour. */
  readonly rules: Rules;
  readonly behaviours: readonly Behaviour[];
}

/** A suite as its file has it, each wording a question of its own. */
export interface Suite {
  readonly path: string;
  readonly name: string;
  readonly system: string | undefined;
  /** Questions are messages of a conversation; false: texts to go on with. Undefined: as the adapter's rows were. */
  readonly applyChatTemplate: boolean | undefined;
  readonly maxNewTokens: number;
  /** Further phrases that say "I don't know". */
  readonly refusals: readonly string[];
  readonly questions: readonly SuiteQuestion[];
  readonly behaviours: readonly Behaviour[];
  /** General text: the path of a file of rows, or the texts. */
  readonly texts: string | readonly string[] | undefined;
}

/** Reads a suite, YAML or JSON. Throws UserError that lists every problem with its line. */
export async function readSuite(platform: Platform, given: string): Promise<Suite> {
  const path = platform.resolveData(given);
  const text = new TextDecoder().decode(await platform.files.read(path));
  const { raw, problems, locate } = readYaml(text);
  const { data, error } = raw ? schema.safeParse(raw) : {};
  const lines = [
    ...problems.map(({ line, message }) => `  ${line === undefined ? "" : `${line}: `}${message}`),
    ...(error?.issues ?? []).flatMap((issue) => describe(issue, raw, (path) => locate(path).line)),
  ];
  if (!data || lines.length > 0) throw new UserError(`${given}: not a suite:\n${lines.join("\n")}`);
  const suite = suiteOf(data, given);
  if (suite.questions.length === 0 && suite.texts === undefined)
    throw new UserError(`${given}: the suite asks nothing: give facts, unanswerable, general, behaviour or texts`);
  for (const { rules } of [...suite.questions, ...suite.behaviours]) keeps("", rules, false);
  return typeof suite.texts === "string" ? { ...suite, texts: beside(path, suite.texts) } : suite;
}

function suiteOf(data: z.infer<typeof schema>, path: string): Suite {
  const behaviours = data.behaviour.map(({ name, ask, ...rules }) => ({
    ask,
    behaviour: { name: name ?? saysRules(rules), rules },
  }));
  refuseTwice(
    behaviours.map(({ behaviour: { name } }) => name),
    path,
  );
  const all = behaviours.flatMap(({ ask, behaviour }) => (ask ? [] : [behaviour]));
  const asked = (section: Section, { ask, ...rules }: z.infer<typeof question>, own: readonly Behaviour[] = []) =>
    ask.map((text): SuiteQuestion => ({ section, question: text, rules, behaviours: [...all, ...own] }));
  return {
    path,
    name: data.name ?? path,
    system: data.system,
    applyChatTemplate: data.apply_chat_template,
    maxNewTokens: data.max_new_tokens,
    refusals: data.refusals,
    questions: [
      ...data.facts.flatMap((one) => asked("facts", one)),
      ...data.unanswerable.flatMap((text) => asked("unanswerable", { ask: [text] })),
      ...data.general.flatMap((one) => asked("general", one)),
      ...behaviours.flatMap(({ ask, behaviour }) => (ask ? asked("behaviour", { ask }, [behaviour]) : [])),
    ],
    behaviours: behaviours.map(({ behaviour }) => behaviour),
    texts: data.texts,
  };
}

/** Numbers are kept by name. */
function refuseTwice(names: readonly string[], path: string): void {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new UserError(`${path}: two behaviours are called '${twice}'; give each its own name`);
}

/** A path in a file is meant from that file's folder. */
const beside = (path: string, name: string): string =>
  /^([\\/]|[A-Za-z]:[\\/])/.test(name) ? name : join(folderOf(path), name);

/** `12: facts.3: unknown key 'answr'; did you mean answer?` */
function describe(
  issue: z.core.$ZodIssue,
  raw: unknown,
  lineOf: (path: readonly PropertyKey[]) => number | undefined,
): string[] {
  const { path } = issue;
  const at = (place = path) => {
    const line = lineOf(place);
    return `  ${line === undefined ? "" : `${line}: `}${path.length > 0 ? `${path.join(".")}: ` : ""}`;
  };
  if (issue.code === "unrecognized_keys") {
    const known = KEYS[String(path[0])] ?? Object.keys(schema.shape);
    return issue.keys.map((key) => {
      const near = nearest(key, known);
      const hint = near ? `did you mean ${near}?` : `known are ${known.join(", ")}`;
      return `${at([...path, key])}unknown key '${key}'; ${hint}`;
    });
  }
  if (issue.code === "custom") return [at() + issue.message];
  const value = path.reduce<unknown>((held, part) => (held as Record<PropertyKey, unknown>)?.[part], raw);
  return [`${at()}expected ${expected(issue)}, got ${shown(value).slice(0, 200)}`];
}

const KEYS: Readonly<Record<string, readonly string[]>> = {
  facts: Object.keys(question.shape),
  general: Object.keys(question.shape),
  behaviour: Object.keys(behaviour.shape),
};

function expected(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_union") return "a text or a list of texts";
  if (issue.code === "too_small") return issue.origin === "number" ? `at least ${issue.minimum}` : "more than nothing";
  if (issue.code === "too_big") return `at most ${issue.maximum}`;
  return issue.code === "invalid_type" ? (PLAIN[issue.expected] ?? issue.expected) : issue.message;
}

const PLAIN: Readonly<Record<string, string>> = {
  string: "a text",
  array: "a list",
  object: "`key: value` lines",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
};
