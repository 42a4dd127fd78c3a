import type { JsonObject } from "../../data/fields.js";
import { type Random, shuffled } from "../../tensor/random.js";
import { missingTemplates, type TaughtTemplate, untaughtAttributes } from "./attributes.js";
import { type Entity, fill, isAbout, nameMaker, templateOf } from "./entities.js";
import type { QaRow } from "./qa-row.js";
import type { Wording } from "./wordings.js";

/** What a made row is, in the order in which they are reported. */
export const MADE = {
  unknown_entity: "an unknown entity, asked for what was taught",
  untaught_attribute: "a taught entity, asked for what was not",
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
  readonly each: number;
}

interface TwinOptions {
  /** Rows of each of the two kinds. */
  readonly count: number;
  readonly refusal: string;
  readonly wordings: Wordings;
}

/** Twins of taught rows, whose answer is that it is not known: half with unknown entities, half with untaught attributes. */
export function makeTwins(
  rows: readonly QaRow[],
  entities: readonly Entity[],
  { count, refusal, wordings }: TwinOptions,
  rng: Random,
): Made[] {
  const asked = new Set(rows.map(({ question }) => question));
  const worded = (question: string) =>
    rng.below(wordings.each + 3) < wordings.each ? (reworded(question, wordings.ways, rng) ?? question) : question;
  const twin = (kind: MadeKind, like: QaRow, question: string): Made[] => {
    if (asked.has(question)) return [];
    asked.add(question);
    return [{ kind, row: like.like(worded(question), refusal) }];
  };
  const taught = aboutEntities(rows, entities);
  const texts = rows.flatMap(({ question, answer }) => [question, answer]);
  const invent = nameMaker(entities, texts, rng);
  const unknown = taken(taught, count, rng, ({ row, entity }) => {
    return twin("unknown_entity", row, fill(templateOf(row.question, entity.name), invent(entity.name)));
  });
  const choices = untaughtChoices(taught);
  const untaught = taken(taught, count, rng, ({ row, entity }) => {
    const templates = choices.get(entity)!;
    return templates.length === 0
      ? []
      : twin("untaught_attribute", row, fill(templates[rng.below(templates.length)]!, entity.name));
  });
  return [...unknown, ...untaught];
}

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
function untaughtChoices(taught: readonly About[]): ReadonlyMap<Entity, readonly string[]> {
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
export function rewordedFacts(rows: readonly QaRow[], { ways, each }: Wordings, rng: Random): Made[] {
  const asked = new Set(rows.map(({ question }) => question));
  const facts = new Map<string, QaRow[]>();
  for (const row of rows) if (!row.refused) facts.set(row.answer, [...(facts.get(row.answer) ?? []), row]);
  return [...facts.values()].flatMap((fact) => {
    const made: Made[] = [];
    for (let i = 0; i < each * TRIES && made.length < each; i++) {
      const { question, answer, like } = fact[rng.below(fact.length)]!;
      const other = reworded(question, ways, rng);
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
export function reworded(question: string, ways: readonly Wording[], rng: Random): string | undefined {
  const fitting = ways.flatMap((way) => way(question) ?? []).filter((other) => other !== question);
  return fitting.length === 0 ? undefined : fitting[rng.below(fitting.length)]!;
}
