import { type Entity, isCapital, namesIn, runsOf, templateOf, tokensOf } from "./entities.js";

/** When and where, and what is asked of things, but no things. */
const NO_THINGS: ReadonlySet<string> = new Set(
  `day days week month year morning evening moment time world first last next same other others one ones name names number price cost
  colour color question answer`.split(/\s+/),
);
/** Questions that a thing is in at least. */
const LEAST_QUESTIONS = 3;

const BEFORE_A_THING = /\b(?:the|your|our) (?=\p{Ll})/gu;

/** What several questions speak of with "the" or "your" in front, as "the workshop", and that ends one of them. */
export function findThings(questions: readonly string[]): Entity[] {
  const seen = new Map<string, { readonly asked: Set<string>; ends: boolean; leads: boolean }>();
  for (const question of questions)
    for (const { name, behind } of phrasesOf(question)) {
      const found = seen.get(name) ?? { asked: new Set(), ends: false, leads: false };
      found.asked.add(question);
      found.ends ||= /^[?.!,]/.test(behind);
      found.leads ||= /^ (?:of|on|for|to|that|which|and)\b/.test(behind);
      seen.set(name, found);
    }
  return [...seen].flatMap(([name, { asked, ends, leads }]) => {
    if (asked.size < LEAST_QUESTIONS || !ends || leads) return [];
    return [{ name, templates: new Set([...asked].map((question) => templateOf(question, name))) }];
  });
}

/** One and two words behind "the" or "your", with it, and what comes behind them. */
function phrasesOf(question: string): { readonly name: string; readonly behind: string }[] {
  return [...question.matchAll(BEFORE_A_THING)].flatMap(({ 0: article, index }) => {
    const rest = question.slice(index + article.length);
    const words = /^\p{Ll}+(?: \p{Ll}+)?/u.exec(rest)![0].split(" ");
    return words.flatMap((_, i) => {
      const phrase = words.slice(0, i + 1);
      const name = article + phrase.join(" ");
      const behind = question.slice(index + name.length);
      return phrase.some((word) => NO_THINGS.has(word)) ? [] : [{ name, behind }];
    });
  });
}

/** Words that begin a sentence and no name. */
const OPENERS: ReadonlySet<string> = new Set(
  "The A An Our Your My Their His Her Its It There This That These Those Every Each All Both No Yes In On At By".split(
    " ",
  ),
);

/** Names that stand in answers and in no question, such as "Ada Brook" of "It was founded by Ada Brook.": nothing is taught about them. */
export function namesInAnswers(answers: readonly string[], questions: readonly string[]): Entity[] {
  const texts = [...answers, ...questions];
  const tokens = texts.flatMap(tokensOf);
  const small = new Set(tokens.flatMap(({ word }) => (isCapital(word) ? [] : [word])));
  const opens = ({ word }: { readonly word: string }) => OPENERS.has(word) || small.has(word.toLowerCase());
  const inside = namesIn(texts);
  const names = new Set([...inside, ...tokens.flatMap((token) => (token.first && !opens(token) ? [token.word] : []))]);
  const found = new Set(answers.flatMap((answer) => runsOf(answer, names)));
  return [...found]
    .filter((name) => inside.has(name.split(" ").at(-1)!) && !questions.some((question) => question.includes(name)))
    .map((name) => ({ name, templates: new Set<string>() }));
}
