import { UserError } from "../../tensor/index.js";
import { EVERY, written } from "./characters.js";
import type { Compiling } from "./compiling.js";
import { patternTerm } from "./pattern.js";
import { isSchema, listOf, type Schema } from "./schema-keywords.js";
import type { Term, Terms } from "./terms.js";

const MOST_PROPERTIES = 500;

/** One member, of which the object may have to have it. */
interface Member {
  readonly term: Term;
  readonly required: boolean;
}

/** Objects: the members of `properties` and `required` in their order, then others where they are allowed. */
export function objectTerm(c: Compiling, schema: Schema, where: string): Term {
  const { terms, json } = c;
  const { properties = {}, additionalProperties = schema.properties === undefined } = schema;
  if (!isSchema(properties)) throw new UserError(`${where}.properties: expected an object`);
  const required = requiredOf(schema, where);
  if (Object.keys(schema).every((key) => key === "type") && additionalProperties === true) return json.object;
  const names = [...new Set([...Object.keys(properties), ...required])];
  if (names.length > MOST_PROPERTIES) throw new UserError(`${where}.properties: at most ${MOST_PROPERTIES} of them`);
  const memberValue = (name: string): Term =>
    Object.hasOwn(properties, name)
      ? c.value(properties[name], `${where}.properties.${name}`)
      : c.value(additionalProperties, `${where}.additionalProperties`);
  const members = names.map((name): Member => {
    const term = json.member(terms.text(JSON.stringify(name)), memberValue(name));
    return { term, required: required.includes(name) };
  });
  const more = c.value(additionalProperties, `${where}.additionalProperties`);
  const other = more === terms.none ? terms.none : json.member(keyTerm(c, names, schema, where), more);
  const { seq, range } = terms;
  return seq(range(0x7b), json.space, membersTerm(terms, json.space, members, other), range(0x7d));
}

function requiredOf(schema: Schema, where: string): readonly string[] {
  const list = listOf(schema, "required", where) ?? [];
  if (list.every((one) => typeof one === "string")) return list as readonly string[];
  throw new UserError(`${where}.required: expected a list of texts`);
}

/**
 * Members in their order, with commas between them. Made from the last on: `first` are those that an object may begin with, `next`
 * those that may follow a member.
 */
function membersTerm(
  { seq, alt, repeat, optional, range, empty, none }: Terms,
  space: Term,
  members: readonly Member[],
  other: Term,
): Term {
  const comma = seq(range(0x2c), space);
  let next = repeat(seq(comma, other));
  let first = other === none ? empty : optional(seq(other, next));
  /** Members that may come after a comma; none where the object may only end. */
  let afterComma = other === none ? none : seq(other, next);
  let mayEnd = true;
  for (const { term, required } of [...members].reverse()) {
    const own = seq(term, next);
    first = required ? own : alt(own, first);
    afterComma = required ? own : alt(own, afterComma);
    mayEnd &&= !required;
    next = mayEnd ? optional(seq(comma, afterComma)) : seq(comma, afterComma);
  }
  return first;
}

/** Names of other members: none of those that are listed, and what `propertyNames` allows. */
function keyTerm(c: Compiling, names: readonly string[], { propertyNames }: Schema, where: string): Term {
  const at = `${where}.propertyNames`;
  const wanted = nameConditions(propertyNames, at);
  const write = (terms: Terms): Term => {
    const any = terms.repeat(written(terms, EVERY));
    const known = names.map((name) => terms.text(JSON.stringify(name).slice(1, -1)));
    const others = terms.both(any, terms.not(terms.alt(...known)));
    return wanted.reduce((all, source) => terms.both(all, patternTerm(terms, source, at)), others);
  };
  return c.json.quoted(c.pattern(`names ${JSON.stringify([names, wanted])}`, write, where));
}

/** `propertyNames` as patterns. */
function nameConditions(schema: unknown, where: string): string[] {
  if (schema === undefined || schema === true) return [];
  if (!isSchema(schema)) throw new UserError(`${where}: expected a schema`);
  const { type = "string", pattern, ...rest } = schema;
  const beside = Object.keys(rest)[0];
  if (type !== "string" || beside !== undefined || (pattern !== undefined && typeof pattern !== "string")) {
    throw new UserError(`${where}: only 'pattern' is held of the names of other properties`);
  }
  return pattern === undefined ? [] : [pattern];
}
