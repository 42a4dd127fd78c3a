import { UserError } from "../../tensor/index.js";
import { Lru } from "../../tensor/lru.js";
import { EVERY, written } from "./characters.js";
import type { Compiling } from "./compiling.js";
import { jsonParts } from "./json.js";
import { machineOf } from "./machine.js";
import { numberRange } from "./number-range.js";
import { patternTerm } from "./pattern.js";
import {
  checkKeywords,
  countOf,
  isOf,
  isSchema,
  KEYWORDS,
  listOf,
  numberOf,
  type Schema,
  type TypeName,
  typesOf,
  withoutNotes,
} from "./schema-keywords.js";
import { apart, merged } from "./schema-merge.js";
import { objectTerm } from "./schema-object.js";
import { STRING_FORMATS } from "./string-formats.js";
import type { Rule, Term, Terms } from "./terms.js";

const MOST_VALUES = 1000;
/** Patterns of one schema, and their states in all: to compile it takes less than a second then. */
const [MOST_PATTERNS, MOST_STATES] = [100, 8000];
/** Parts of a schema, those counted again that are merged with others; and parts inside parts. */
const MOST_PARTS = 20_000;
const DEEPEST = 100;

/** Automata of patterns that are kept, for all schemas. */
const MACHINES = 256;
const machines = new WeakMap<Terms, Lru<string, Term>>();

/**
 * The JSON texts that fit a schema (JSON Schema, draft 2020-12), all of them but for how they are written: members come in the
 * order of `properties`, numbers within bounds have no exponent and strings with a pattern no needless escapes. An object that lists
 * properties has no others unless `additionalProperties` says so, and a part without a type is of the types that its keywords
 * speak of. Throws UserError, beginning with `where` and leading to the keyword, for what cannot be held and for a schema that
 * nothing finite fits.
 */
export function schemaTerm(terms: Terms, schema: unknown, where: string): Term {
  const json = jsonParts(terms);
  const rules = new Map<string, Rule>();
  const patterns = new Set<string>();
  let kept = machines.get(terms);
  if (!kept) machines.set(terms, (kept = new Lru(MACHINES)));
  const references: { readonly pointer: string; readonly rule: Rule }[] = [];
  const resolve = (part: unknown): unknown =>
    isSchema(part) && typeof part.$ref === "string" ? pointed(schema, part.$ref, where) : part;

  let [count, depth, states] = [0, 0, 0];

  const c: Compiling = {
    terms,
    json,
    value: (part, at) => {
      if (part === true) return json.value;
      if (part === false) return terms.none;
      if (!isSchema(part)) throw new UserError(`${at}: expected a schema, which is an object`);
      if (count++ > MOST_PARTS || depth > DEEPEST)
        throw new UserError(`${where}: it is too large, or refers to itself`);
      checkKeywords(part, at);
      depth++;
      const term = partTerm(c, withoutNotes(part), at, { reference, resolve });
      depth--;
      return term;
    },
    pattern(key, write, at) {
      const term = kept.get(key, () => machineOf(terms, write, at));
      if (!patterns.has(key) && term.kind === "machine") states += term.machine.accepts.length;
      if (patterns.add(key).size > MOST_PATTERNS || states > MOST_STATES) {
        throw new UserError(`${where}: its patterns take more time than a schema may; make them fewer or shorter`);
      }
      return term;
    },
  };
  const reference = (pointer: string, at: string): Term => {
    let rule = rules.get(pointer);
    if (!rule) {
      pointed(schema, pointer, at);
      rules.set(pointer, (rule = terms.rule()));
      references.push({ pointer, rule });
    }
    return terms.reference(rule);
  };

  const root = c.value(schema, where);
  for (const { pointer, rule } of references)
    rule.body = c.value(pointed(schema, pointer, where), `${where}: ${pointer}`);
  for (const { pointer, rule } of references) refuseLoop(rule, `${where}: ${pointer}`);
  terms.settle([...rules.values()]);
  if (terms.cost(root) === Number.POSITIVE_INFINITY) {
    throw new UserError(`${where}: nothing finite fits it, or the tokenizer cannot write what does`);
  }
  return terms.seq(json.space, root);
}

/** What a `$ref` of the schema itself leads to (RFC 6901). */
function pointed(schema: unknown, pointer: string, where: string): unknown {
  if (!pointer.startsWith("#"))
    throw new UserError(`${where}.$ref: only references into the schema itself, '#/...', are followed`);
  let at: unknown = schema;
  for (const step of decodeURIComponent(pointer.slice(1)).split("/").slice(1)) {
    const key = step.replaceAll("~1", "/").replaceAll("~0", "~");
    const held = typeof at === "object" && at !== null && Object.hasOwn(at, key);
    if (!held) throw new UserError(`${where}.$ref: '${pointer.slice(0, 100)}' leads nowhere`);
    at = (at as Record<string, unknown>)[key];
  }
  return at;
}

/** A rule that holds itself before any text would never begin. */
function refuseLoop(rule: Rule, where: string): void {
  const seen = new Set<Term>();
  const visit = (term: Term): void => {
    if (seen.has(term)) return;
    seen.add(term);
    if (term.kind === "rule") {
      if (term.rule === rule) throw new UserError(`${where} refers to itself and nothing else`);
      visit(term.rule.body!);
    } else if (term.kind === "alt") term.parts.forEach(visit);
    else if (term.kind === "repeat") visit(term.part);
    else if (term.kind === "seq") {
      visit(term.head);
      if (term.head.nullable) visit(term.tail);
    }
  };
  visit(rule.body!);
}

interface References {
  reference(pointer: string, where: string): Term;
  resolve(schema: unknown): unknown;
}

/** A schema without notes. */
function partTerm(c: Compiling, schema: Schema, where: string, references: References): Term {
  const { $ref, allOf, anyOf, oneOf, ...rest } = schema;
  if ($ref !== undefined) {
    if (typeof $ref !== "string") throw new UserError(`${where}.$ref: expected a text`);
    const beside = Object.keys(schema).find((key) => key !== "$ref");
    if (beside !== undefined) throw new UserError(`${where}: '${beside}' beside '$ref' cannot be held`);
    return references.reference($ref, where);
  }
  if (allOf !== undefined) {
    const list = listOf(schema, "allOf", where)!.map((one) => asObject(references.resolve(one), `${where}.allOf`));
    const { allOf: _, ...own } = schema;
    if (list.length === 1 && Object.keys(own).length === 0)
      return c.value((allOf as unknown[])[0], `${where}.allOf[0]`);
    return c.value(
      list.reduce((all, one) => merged(all, one, `${where}.allOf`), own),
      where,
    );
  }
  const key = anyOf !== undefined ? "anyOf" : "oneOf";
  const choices = listOf(schema, key, where);
  if (choices) {
    if (anyOf !== undefined && oneOf !== undefined)
      throw new UserError(`${where}: 'anyOf' beside 'oneOf' cannot be held`);
    if (choices.length === 0) throw new UserError(`${where}.${key}: expected at least one schema`);
    if (key === "oneOf") refuseOverlap(choices, where, references);
    const alone = Object.keys(rest).length === 0;
    const parts = choices.map((one, i) =>
      c.value(
        alone ? one : merged(rest, asObject(references.resolve(one), `${where}.${key}[${i}]`), where),
        `${where}.${key}[${i}]`,
      ),
    );
    return c.terms.alt(...parts);
  }
  return plainTerm(c, rest, where);
}

function asObject(value: unknown, where: string): Schema {
  if (isSchema(value)) return value;
  if (value === true) return {};
  throw new UserError(`${where}: expected schemas that are objects`);
}

function refuseOverlap(choices: readonly unknown[], where: string, { resolve }: References): void {
  for (let i = 1; i < choices.length; i++) {
    const other = choices.findIndex((one, at) => at < i && !apart(one, choices[i], resolve));
    if (other < 0) continue;
    throw new UserError(
      `${where}.oneOf: a value may fit both [${other}] and [${i}], which cannot be held; write anyOf, or give them a required property with different constants`,
    );
  }
}

function plainTerm(c: Compiling, schema: Schema, where: string): Term {
  const types = typesOf(schema, where);
  const fixed = Object.hasOwn(schema, "const") ? [schema.const] : listOf(schema, "enum", where);
  if (fixed) {
    const beside = Object.keys(schema).find((key) => Object.hasOwn(KEYWORDS, key));
    if (beside !== undefined) throw new UserError(`${where}: '${beside}' beside fixed values cannot be held`);
    if (fixed.length > MOST_VALUES) throw new UserError(`${where}.enum: at most ${MOST_VALUES} values`);
    const values = fixed.filter((value) => isOf(value, types));
    if (values.length === 0) throw new UserError(`${where}: no value of it is of its type`);
    return c.terms.alt(...values.map((value) => c.terms.text(JSON.stringify(value))));
  }
  return c.terms.alt(...types.map((type) => TYPED[type](c, schema, where)));
}

const TYPED: Readonly<Record<TypeName, (c: Compiling, schema: Schema, where: string) => Term>> = {
  null: ({ terms }) => terms.text("null"),
  boolean: ({ terms }) => terms.alt(terms.text("true"), terms.text("false")),
  string: stringTerm,
  number: (c, schema, where) => numberTerm(c, schema, where, false),
  integer: (c, schema, where) => numberTerm(c, schema, where, true),
  array: arrayTerm,
  object: objectTerm,
};

function stringTerm(c: Compiling, schema: Schema, where: string): Term {
  const { terms, json } = c;
  const least = countOf(schema, "minLength", where) ?? 0;
  const most = countOf(schema, "maxLength", where) ?? Number.POSITIVE_INFINITY;
  if (least > most) throw new UserError(`${where}: minLength ${least} is above maxLength ${most}`);
  const sources = patternsOf(schema, where);
  if (sources.length === 0) return json.quoted(terms.repeat(json.character, least, most));
  const bounded = least > 0 || most < Number.POSITIVE_INFINITY;
  const write = (own: Terms): Term => {
    const length = bounded ? [own.repeat(written(own, EVERY), least, most)] : [];
    const all = [...sources.map((source) => patternTerm(own, source, where)), ...length];
    return all.reduce((one, other) => own.both(one, other));
  };
  return json.quoted(
    c.pattern(
      JSON.stringify([sources, least, most]),
      write,
      `${where}.${schema.pattern === undefined ? "format" : "pattern"}`,
    ),
  );
}

function patternsOf({ pattern, format }: Schema, where: string): string[] {
  if (pattern !== undefined && typeof pattern !== "string") throw new UserError(`${where}.pattern: expected a text`);
  if (format !== undefined && (typeof format !== "string" || !Object.hasOwn(STRING_FORMATS, format))) {
    const known = Object.keys(STRING_FORMATS).join(", ");
    throw new UserError(`${where}.format: ${JSON.stringify(format)?.slice(0, 60)} cannot be held; held are ${known}`);
  }
  return [...(format === undefined ? [] : [STRING_FORMATS[format]!]), ...(pattern === undefined ? [] : [pattern])];
}

function numberTerm({ terms, json }: Compiling, schema: Schema, where: string, whole: boolean): Term {
  const step = numberOf(schema, "multipleOf", where);
  if (step !== undefined && !(whole && step === 1)) throw new UserError(`${where}: 'multipleOf' cannot be held`);
  const bound = (plain: string, open: string, sharper: (a: number, b: number) => number) => {
    const [at, outside] = [numberOf(schema, plain, where), numberOf(schema, open, where)];
    if (outside === undefined || at === undefined) {
      const one = at ?? outside;
      return one === undefined ? undefined : { at: one, open: at === undefined };
    }
    return at === outside || sharper(at, outside) === outside ? { at: outside, open: true } : { at, open: false };
  };
  const least = bound("minimum", "exclusiveMinimum", Math.max);
  const most = bound("maximum", "exclusiveMaximum", Math.min);
  if (!least && !most) return whole ? json.integer : json.number;
  return numberRange(terms, { whole, least, most }, where);
}

function arrayTerm(c: Compiling, schema: Schema, where: string): Term {
  const first = (listOf(schema, "prefixItems", where) ?? []).map((one, i) =>
    c.value(one, `${where}.prefixItems[${i}]`),
  );
  const { items = true } = schema;
  if (Array.isArray(items)) throw new UserError(`${where}.items: a list of schemas is 'prefixItems' now`);
  const least = countOf(schema, "minItems", where) ?? 0;
  const most = countOf(schema, "maxItems", where) ?? Number.POSITIVE_INFINITY;
  if (least > most) throw new UserError(`${where}: minItems ${least} is above maxItems ${most}`);
  const others = c.value(items, `${where}.items`);
  return c.json.listOf({ first, others, least, most: others === c.terms.none ? Math.min(most, first.length) : most });
}
