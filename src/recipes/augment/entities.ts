import type { Random } from "../../tensor/random.js";

/** Where an entity stands in a question template. */
export const SLOT = "<entity>";

/** Who or what questions are about: a name, and the templates of the questions that name it. */
export interface Entity {
  /** With "the" in front where it always is. */
  readonly name: string;
  readonly templates: ReadonlySet<string>;
}

/** A word, with what may stand inside one. */
export const WORD = /[\p{L}\p{N}][\p{L}\p{N}'&.-]*/gu;
/** What may join the words of a name. */
const JOINS: ReadonlySet<string> = new Set([" ", " of ", " of the ", " & ", "-"]);
/** Capitalised in English wherever they stand, and no names of anybody's. */
const COMMON: ReadonlySet<string> = new Set(
  (
    "I January February March April May June July August September October November December Monday Tuesday Wednesday " +
    "Thursday Friday Saturday Sunday English French German Spanish"
  ).split(" "),
);

/** Questions that an entity is in at least: what is named once is as likely general knowledge. */
const LEAST_QUESTIONS = 2;

/**
 * Finds the names in questions: capitalised words one after the other, the longest there are. The first word of a sentence
 * belongs to a name where it is capitalised elsewhere too, and nowhere written small. `texts`: all that is written.
 */
export function findEntities(questions: readonly string[], texts: readonly string[] = questions): Entity[] {
  const names = namesIn(texts);
  const found = new Map<string, Set<string>>();
  for (const question of questions)
    for (const name of runsOf(question, names)) found.set(name, (found.get(name) ?? new Set()).add(question));
  return [...found].flatMap(([run, asked]) => {
    if (asked.size < LEAST_QUESTIONS) return [];
    const name = [...asked].every((question) => question.toLowerCase().includes(`the ${run.toLowerCase()}`))
      ? `the ${run}`
      : run;
    return [{ name, templates: new Set([...asked].map((question) => templateOf(question, name))) }];
  });
}

/** Entities that somebody names: those of them that questions name. */
export function givenEntities(questions: readonly string[], names: readonly string[]): Entity[] {
  return names.flatMap((name) => {
    const asked = questions.filter((question) => isAbout(question, name));
    return asked.length > 0 ? [{ name, templates: new Set(asked.map((question) => templateOf(question, name))) }] : [];
  });
}

const capitalised = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** Whether a question names an entity. */
export const isAbout = (question: string, name: string): boolean =>
  question.includes(name) || question.startsWith(capitalised(name));

/** A question with a slot where its entity stood. */
export const templateOf = (question: string, name: string): string =>
  (question.startsWith(capitalised(name)) ? SLOT + question.slice(name.length) : question).replaceAll(name, SLOT);

/** A template as a question about somebody else. */
export const fill = (template: string, name: string): string => capitalised(template.replaceAll(SLOT, name));

export const isCapital = (word: string): boolean => /^\p{Lu}/u.test(word);
/** A word as it is compared: without what ends a sentence, or says whose it is. */
const bare = (word: string): string => word.replace(/'s$/, "").replace(/[.'&-]+$/, "");

const isCommon = (word: string): boolean => COMMON.has(word) || COMMON.has(word.replace(/s$/, ""));

export interface Token {
  readonly word: string;
  readonly start: number;
  readonly first: boolean;
}

/** The words of a text, and where they stand. */
export function tokensOf(text: string): Token[] {
  return [...text.matchAll(WORD)].map((match) => {
    const before = text.slice(0, match.index).trimEnd();
    return { word: bare(match[0]), start: match.index, first: before === "" || /[.!?:"“]$/.test(before) };
  });
}

/** Words that are capitalised inside a sentence, and never small. */
export function namesIn(texts: readonly string[]): ReadonlySet<string> {
  const [inside, small] = [new Set<string>(), new Set<string>()];
  for (const { word, first } of texts.flatMap(tokensOf)) {
    if (!isCapital(word)) small.add(word);
    else if (!first) inside.add(word);
  }
  return new Set([...inside].filter((word) => !isCommon(word) && !small.has(word.toLowerCase())));
}

/** Names in a text, each in one piece. A sentence's first word belongs to one where it is among `names`. */
export function runsOf(question: string, names: ReadonlySet<string>): string[] {
  const runs: { start: number; end: number }[] = [];
  for (const { word, start, first } of tokensOf(question)) {
    if (!isCapital(word) || isCommon(word) || (first && !names.has(word))) continue;
    const last = runs.at(-1);
    if (last && JOINS.has(question.slice(last.end, start))) last.end = start + word.length;
    else runs.push({ start, end: start + word.length });
  }
  return runs.map(({ start, end }) => question.slice(start, end));
}

/**
 * Makes names that look like those of the entities and are in no text. Of several words every second name keeps one, so that half a
 * name is not enough to be known by.
 */
export function nameMaker(
  entities: readonly Entity[],
  texts: readonly string[],
  rng: Random,
): (like: string) => string {
  const used = new Set(texts.flatMap((text) => tokensOf(text).map(({ word }) => word.toLowerCase())));
  const words = entities.map(({ name }) => name.match(WORD) ?? []);
  const counts = new Map<string, number>();
  for (const word of words.flatMap((all) => [...new Set(all)])) counts.set(word, (counts.get(word) ?? 0) + 1);
  const isOwn = (word: string) => counts.get(word) === 1 && isCapital(word) && !ARTICLES.has(word);
  const own = [...counts.keys()].filter(isOwn);
  const [heads, tails] = piecesOf(own);
  const pick = (items: readonly string[]) => items[rng.below(items.length)]!;
  const invented = (word: string): string => {
    if (/\p{N}/u.test(word)) return word.replace(/\p{N}/gu, () => String(rng.below(10)));
    for (let i = 0; ; i++) {
      const made = pick(heads) + (i > 50 ? pick(MIDDLES) : "") + pick(tails);
      if (used.has(made.toLowerCase())) continue;
      used.add(made.toLowerCase());
      return made;
    }
  };
  return (like) => {
    const owned = (like.match(WORD) ?? []).filter(isOwn);
    const kept = owned.length > 1 && rng.below(2) === 0 ? pick(owned) : undefined;
    return like.replace(WORD, (word) => (isOwn(word) && word !== kept ? invented(word) : word));
  };
}

const ARTICLES: ReadonlySet<string> = new Set(["A", "An", "The"]);
const MIDDLES = ["ra", "le", "mi", "no", "ta", "si", "ve", "du"];
const SPARE = ["Branwick", "Telford", "Mardle", "Quenby", "Sorrel", "Harwin", "Dunlow", "Pelham"];

/** Beginnings and ends of words, to be put together anew. */
function piecesOf(words: readonly string[]): [heads: string[], tails: string[]] {
  const cut = [...words, ...SPARE].flatMap((word) => {
    const at = /^[^aeiouy]*[aeiouy]+/i.exec(word)?.[0].length ?? 0;
    return at > 0 && at < word.length && /^\p{L}+$/u.test(word) ? [[word.slice(0, at), word.slice(at)] as const] : [];
  });
  return [cut.map(([head]) => head), cut.map(([, tail]) => tail)];
}
