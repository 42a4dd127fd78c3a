import type { JsonObject } from "../../data/fields.js";
import { type Random, shuffled } from "../../tensor/random.js";
import { missingTemplates, type TaughtTemplate, untaughtAttributes } from "./attributes.js";
import { type Entity, fill, isAbout, nameMaker, templateOf } from "./entities.js";
import { nobodyKnows } from "./nobody-knows.js";
import { type QaRow, unsigned } from "./qa-row.js";
import { findThings, namesInAnswers } from "./things.js";
import type { Wording } from "./wordings.js";

/** What a made row is, in the order in which they are reported. */
export const MADE = {
  unknown_entity: "an unknown entity, asked for what was taught",
  untaught_attribute: "a taught entity, asked for what was not",
  unanswerable: "unanswerable questions in other wordings, and others that nobody can answer",
  wording: "taught facts in other wordings",
  known: "known questions in the base's own words",
} as const;
export type MadeKind = keyof typeof MADE;

export interface Made {
  readonly kind: MadeKind;
  readonly row: JsonObject;
}

/** Further ways to ask, and in how many of them each fact is asked. */
export interface Wordings {
  readonly ways: readonly Wording[];
  /** Ways to ask the same that are no sentences around a question; every second rewording begins with one. Default: none. */
  readonly same?: readonly Wording[];
  readonly each: number;
}

interface TwinOptions {
  /** Rows of all kinds together. */
  readonly count: number;
  /** What every answer ends with. */
  readonly ending: string;
  readonly refusal: string;
  readonly wordings: Wordings;
}

/** Twins of taught rows, whose answer is that it is not known: unknown entities, untaught attributes, and what nobody can know. */
export function makeTwins(
  rows: readonly QaRow[],
  entities: readonly Entity[],
  options: TwinOptions,
  rng: Random,
): Made[] {
  const taught = aboutEntities(rows, entities);
  const { count } = options;
  const wanted = quotas(count, taught.length / Math.max(1, rows.filter(({ refused }) => !refused).length));
  const maker = createMaker(rows, options, rng);
  const unknown = unknownEntities(maker, taught, entities, wanted.unknown);
  const unanswerable = unanswerableQuestions(maker, wanted.unanswerable);
  const rest = count - unknown.length - unanswerable.length;
  return [...unknown, ...untaughtOf(maker, taught, entities, rest), ...unanswerable];
}

/** How many are made of each kind; `named`: the share of taught questions that name an entity, without which the others weigh more. */
function quotas(count: number, named: number): { readonly unknown: number; readonly unanswerable: number } {
  const unanswerable = Math.round(count * (0.15 + 0.25 * (1 - named)));
  return { unanswerable, unknown: Math.round(((count - unanswerable) / 2) * (0.5 + 0.5 * named)) };
}

/** What all kinds are made with. */
interface Maker extends TwinOptions {
  readonly rows: readonly QaRow[];
  readonly known: readonly QaRow[];
  readonly rng: Random;
  /** A question as a row like another, often in other words; none where it is asked already. */
  readonly twin: (kind: MadeKind, like: QaRow, question: string) => Made[];
}

function createMaker(rows: readonly QaRow[], options: TwinOptions, rng: Random): Maker {
  const { wordings, refusal } = options;
  const asked = new Set(rows.map(({ question }) => question));
  const worded = (question: string) =>
    asked.has(question) || rng.below(wordings.each + 3) < wordings.each
      ? (reworded(question, wordings, rng) ?? question)
      : question;
  const twin = (kind: MadeKind, like: QaRow, question: string): Made[] => {
    const text = worded(question);
    if (asked.has(text)) return [];
    asked.add(text);
    return [{ kind, row: like.like(text, refusal) }];
  };
  return { ...options, rows, known: rows.filter(({ refused }) => !refused), rng, twin };
}

/** Taught questions about names that nobody has. */
function unknownEntities(maker: Maker, taught: readonly About[], entities: readonly Entity[], count: number): Made[] {
  const { rows, rng, twin } = maker;
  const texts = rows.flatMap(({ question, answer }) => [question, answer]);
  const invent = nameMaker(entities, texts, rng);
  return taken(taught, count, rng, ({ row, entity }) =>
    twin("unknown_entity", row, fill(templateOf(row.question, entity.name), invent(entity.name))),
  );
}

/** The rows' own unanswerable questions in other words, and others that nobody can answer, half of each where there are. */
function unanswerableQuestions({ rows, known, rng, twin }: Maker, count: number): Made[] {
  const like = known[0] ?? rows[0]!;
  const make = (question: string) => twin("unanswerable", like, question);
  const refused = rows.flatMap((row) => (row.refused ? [row.question] : []));
  const own = taken(refused, Math.ceil(count / 2), rng, make);
  return [...own, ...taken(nobodyKnows(known.map(({ question }) => question)), count - own.length, rng, make)];
}

/** What is named in the rows, asked for what no row tells of it. */
function untaughtOf(maker: Maker, taught: readonly About[], entities: readonly Entity[], count: number): Made[] {
  const { rows, known, rng, twin, ending } = maker;
  const others = [
    ...findThings(known.map(({ question }) => question)),
    ...namesInAnswers(
      known.map(({ answer }) => unsigned(answer, ending)),
      rows.map(({ question }) => question),
    ),
  ].filter(({ name }) => !entities.some((entity) => entity.name.includes(name)));
  const choices = untaughtChoices(taught);
  for (const entity of others)
    choices.set(
      entity,
      untaughtAttributes(entity).flatMap(({ ask }) => ask),
    );
  const about = others.flatMap((entity) =>
    Array<About>(Math.min(OFTEN.most, Math.max(OFTEN.least, entity.templates.size))).fill({ row: known[0]!, entity }),
  );
  return taken([...taught, ...about], count, rng, ({ row, entity }) => {
    const templates = choices.get(entity)!;
    const template = templates[rng.below(templates.length)];
    return template === undefined ? [] : twin("untaught_attribute", row, fill(template, entity.name));
  });
}

/** How often one that is no entity is asked about, beside once for each taught question about an entity. */
const OFTEN = { least: 2, most: 6 };

interface About {
  readonly row: QaRow;
  readonly entity: Entity;
}

/** The taught rows with the entity that each is about: the longest name in it. */
function aboutEntities(rows: readonly QaRow[], entities: readonly Entity[]): About[] {
  const longest = [...entities].sort((a, b) => b.name.length - a.name.length);
  return rows.flatMap((row) => {
    const entity = row.refused ? undefined : longest.find(({ name }) => isAbout(row.question, name));
    return entity ? [{ row, entity }] : [];
  });
}

/** Goes through shuffled items, again and again, until enough were made or a whole round made nothing. */
function taken<T>(items: readonly T[], count: number, rng: Random, make: (item: T) => Made[]): Made[] {
  const made: Made[] = [];
  for (let before = -1; made.length < count && made.length > before; ) {
    before = made.length;
    for (const item of shuffled(items, rng)) if (made.length < count) made.push(...make(item));
  }
  return made;
}

/** For each entity what it was not taught: what others of its kind were, and as much of what anybody can be asked. */
function untaughtChoices(taught: readonly About[]): Map<Entity, readonly string[]> {
  const byEntity = new Map<Entity, TaughtTemplate[]>();
  for (const { row, entity } of taught) {
    const own = { template: templateOf(row.question, entity.name), answer: row.answer };
    byEntity.set(entity, [...(byEntity.get(entity) ?? []), own]);
  }
  return new Map(
    [...byEntity].map(([entity, own]) => {
      const general = untaughtAttributes(entity).flatMap(({ ask }) => ask);
      const others = [...byEntity].flatMap(([other, taught]) => (other === entity ? [] : [taught]));
      return [entity, [...missingTemplates(own, others), ...general]];
    }),
  );
}

/** Each taught fact in further wordings, `each` of them, asked as one of its rows asks; none twice. */
export function rewordedFacts(rows: readonly QaRow[], wordings: Wordings, rng: Random): Made[] {
  const { each } = wordings;
  const asked = new Set(rows.map(({ question }) => question));
  const facts = new Map<string, QaRow[]>();
  for (const row of rows) if (!row.refused) facts.set(row.answer, [...(facts.get(row.answer) ?? []), row]);
  return [...facts.values()].flatMap((fact) => {
    const made: Made[] = [];
    for (let i = 0; i < each * TRIES && made.length < each; i++) {
      const { question, answer, like } = fact[rng.below(fact.length)]!;
      const other = reworded(question, wordings, rng);
      if (other === undefined || asked.has(other)) continue;
      asked.add(other);
      made.push({ kind: "wording", row: like(other, answer) });
    }
    return made;
  });
}

/** Draws of a question and a wording for each one that is wanted. */
const TRIES = 8;

/** A question in one of the ways that fit it; undefined where none does. */
export function reworded(question: string, { ways, same = [] }: Wordings, rng: Random): string | undefined {
  const other = rng.below(2) === 0 ? oneOf(question, same, rng) : undefined;
  if (other !== undefined && rng.below(2) === 0) return other;
  return oneOf(other ?? question, ways, rng) ?? other;
}

function oneOf(question: string, ways: readonly Wording[], rng: Random): string | undefined {
  const fitting = ways.flatMap((way) => way(question) ?? []).filter((other) => other !== question);
  return fitting.length === 0 ? undefined : fitting[rng.below(fitting.length)]!;
}
