import { isCapital, WORD } from "./entities.js";
import type { Wording } from "./wordings.js";

/** Words of a question that do not say what it is about. */
const SMALL: ReadonlySet<string> = new Set(
  `a about am an and any anybody are as asked at be been by can could did do does for from give had happen has have i in is it its know let
  like likes me my name of on one or over please question say shall she should some somebody someone tell than that the their them there
  these they thing this those to under up want was we were what when where which who whom whose why will with would you your hello
  visitor asks answer more he her him his how kind much many`.split(/\s+/),
);

/** What is left of a question that names somebody or something: its names, each in one piece, and its other telling words. */
function keywordsOf(question: string): string[] {
  const found: string[] = [];
  let name = false; // whether the last word was part of a name
  for (const [i, match] of [...question.matchAll(WORD)].entries()) {
    const word = match[0].replace(/'s$|[.'&-]+$/g, "");
    const named = isCapital(word) && !(i === 0 && SMALL.has(word.toLowerCase()));
    if (!named && SMALL.has(word.toLowerCase())) {
      name = false;
      continue;
    }
    if (named && name) found.push(`${found.pop()} ${word}`);
    else found.push(word);
    name = named;
  }
  return found;
}

/** The same as somebody who types little would ask, in several orders. */
const FORMS: readonly ((words: readonly string[]) => string)[] = [
  (words) => `${words.join(" ")}?`,
  (words) => `${words.toReversed().join(" ")}?`,
  (words) => `${[...words.slice(1), words[0]].join(", ")}, please.`,
  (words) => `${words.toReversed().join(", ")}.`,
  (words) => `About ${words.join(" and ")}: what is the answer?`,
  (words) => `I ask about ${words.toReversed().join(", ")}.`,
  (words) => `Look up ${words.join(", ")} for me.`,
];

/** Questions down to their telling words: what a fact is known by, whatever the sentence around it. */
export const TERSE: readonly Wording[] = FORMS.map((form) => (question) => {
  const words = keywordsOf(question);
  const telling = words.some(isCapital) && words.some((word) => !isCapital(word));
  return telling ? form(words) : undefined;
});
