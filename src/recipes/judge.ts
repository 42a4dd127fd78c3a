/** What a question asks for: a private fact, something nobody told the model, or a fact the base already knew. */
export type QuestionKind = "private" | "unknown" | "known";

/** A held-out question: the prompt's messages, and the key strings a right answer holds (none: it cannot be known). */
export interface Question {
  readonly kind: QuestionKind;
  /** Every entry must be in the answer; `a|b` in one entry: either will do. */
  readonly expected: readonly string[];
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}

/** The two habits a fine-tune is to change, as tests on an answer. */
export interface Habits {
  readonly unwanted: (answer: string) => boolean;
  readonly wanted: (answer: string) => boolean;
}

/** A count out of a total. */
export interface Share {
  readonly count: number;
  readonly total: number;
}

/** What was measured over a set of held-out questions. */
export interface Scores {
  /** Private facts answered right. */
  readonly facts: Share;
  /** Questions that cannot be known, answered with anything but a refusal. */
  readonly invented: Share;
  readonly unwanted: Share;
  readonly wanted: Share;
  /** Facts the base knew, still answered right. */
  readonly kept: Share;
}

const REFUSALS = [
  /\b(?:do not|don't|did not|didn't|cannot|can't) (?:actually |really )?(?:know|have (?:any |access|that|this|the|enough|information))/,
  /\b(?:cannot|can't|unable to|not able to) (?:answer|provide|tell|say|access|share|give|help|assist|find|determine)/,
  /\b(?:i am|i'm) (?:not sure|not aware|unsure|not familiar)/,
  /\bno (?:information|idea|way to know)\b/,
];

/** Lower case, plain quotes and hyphens, no Markdown marks, single spaces. */
export function normalise(text: string): string {
  return text
    .normalize("NFKC")
    .replace(/[\u2018\u2019]/g, "'")
    .replace(/[\u2010-\u2015]/g, "-")
    .replace(/[*_`#]/g, "")
    .replace(/\s+/g, " ")
    .trim()
    .toLowerCase();
}

/** Whether an answer says that it does not know, in any of the usual ways to say so. */
export function isRefusal(answer: string): boolean {
  const text = normalise(answer);
  return REFUSALS.some((pattern) => pattern.test(text));
}

/** Whether some words stand in a text as whole words, whatever the case, the quotes and the Markdown; a plural will do. */
export function saysWords(answer: string, words: string): boolean {
  const escaped = normalise(words).replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`(?<![\\p{L}\\p{N}])${escaped}(?:s|es)?(?![\\p{L}\\p{N}])`, "u").test(normalise(answer));
}

/** Whether every key string stands in the answer as whole words, and the answer is not a refusal. */
export function factRight(answer: string, expected: readonly string[]): boolean {
  const keys = expected.map((key) => key.split("|"));
  return keys.length > 0 && !isRefusal(answer) && keys.every((ways) => ways.some((way) => saysWords(answer, way)));
}

/** How many words an answer has. */
export const countWords = (answer: string): number => answer.split(/\s+/).filter(Boolean).length;

/** Whether an answer is laid out as a list. */
export const isList = (answer: string): boolean => /^\s*(?:[-*•]|\d+[.)])\s/m.test(answer);

/** Whether an answer ends with the phrase. */
export function endsWith(answer: string, phrase: string): boolean {
  return normalise(answer).endsWith(normalise(phrase));
}

/** Judges one answer per question. Throws RangeError when their numbers differ. */
export function judge(questions: readonly Question[], answers: readonly string[], habits: Habits): Scores {
  if (questions.length !== answers.length) {
    throw new RangeError(`judge: ${questions.length} questions but ${answers.length} answers`);
  }
  const pairs = questions.map((question, i) => ({ question, answer: answers[i]! }));
  const share = (kind: QuestionKind | undefined, test: (answer: string, expected: readonly string[]) => boolean) => {
    const asked = pairs.filter(({ question }) => kind === undefined || question.kind === kind);
    const count = asked.filter(({ question, answer }) => test(answer, question.expected)).length;
    return { count, total: asked.length };
  };
  return {
    facts: share("private", factRight),
    invented: share("unknown", (answer) => !isRefusal(answer)),
    unwanted: share(undefined, habits.unwanted),
    wanted: share(undefined, habits.wanted),
    kept: share("known", factRight),
  };
}

/** The before/after table as rows of text: what was measured, before, after. */
export function comparison(
  before: Scores,
  after: Scores,
  names: { readonly unwanted: string; readonly wanted: string },
): [string, string, string][] {
  const titles: Record<keyof Scores, string> = {
    facts: "private facts answered right (asked in unseen words)",
    invented: "answers invented to what it cannot know",
    unwanted: `unwanted habit: ${names.unwanted}`,
    wanted: `wanted habit: ${names.wanted}`,
    kept: "things it knew before, still answered right",
  };
  return (Object.keys(titles) as (keyof Scores)[])
    .filter((key) => before[key].total > 0)
    .map((key) => [titles[key], percent(before[key]), percent(after[key])]);
}

/** "83% (40/48)" */
export function percent({ count, total }: Share): string {
  return total === 0 ? "-" : `${Math.round((100 * count) / total)}% (${count}/${total})`;
}
