import type { JsonParts } from "./json.js";
import { machineOf } from "./machine.js";
import type { Term, Terms } from "./terms.js";
import { ADDED } from "./vocabulary.js";

/** A fixed text, in which numbers are ids of added tokens. Where it has white space there may be another, or none. */
export type Written = readonly (string | number)[];

/** How calls are written. */
export interface CallSyntax {
  readonly begin: Written;
  /** Before the name, between name and arguments, after them. */
  readonly call: readonly [Written, Written, Written];
  /** Undefined: one call alone. */
  readonly between: Written | undefined;
  readonly end: Written;
  /** What calls begin with, after words; at most one text, or any number of tokens. */
  readonly opens: readonly (string | number)[];
  /** An answer may also begin with a call that nothing stands before; this is how such a one begins. */
  readonly bare: Written | undefined;
}

/** A function that may be called, with the texts that its arguments may be. */
export interface Callee {
  readonly name: string;
  readonly arguments: Term;
}

interface Parts {
  readonly terms: Terms;
  readonly json: JsonParts;
}

/** One call, or with `several` any number from one, and nothing else. */
export function callsTerm(parts: Parts, syntax: CallSyntax, callees: readonly Callee[], several: boolean): Term {
  const { seq, alt, repeat, empty } = parts.terms;
  const [beforeName, beforeArguments, after] = syntax.call;
  const call = alt(
    ...callees.map(({ name, arguments: given }) =>
      seq(written(parts, [...beforeName, name, ...beforeArguments]), given, written(parts, after)),
    ),
  );
  const more = several && syntax.between ? repeat(seq(written(parts, syntax.between), call)) : empty;
  return seq(written(parts, syntax.begin), call, more, written(parts, syntax.end));
}

/** Words, calls, or words and then calls: what begins as a call is one. */
export function wordsOrCalls(parts: Parts, { opens, bare }: CallSyntax, calls: Term, size: number): Term {
  const { seq, alt, optional, repeat, range } = parts.terms;
  const tokens = opens.filter((one) => typeof one === "number");
  const [mark] = opens.filter((one) => typeof one === "string");
  if (bare) {
    const words = wordsOf(parts.terms, JSON.stringify(["bare", bare]), (own) =>
      own.not(own.seq(beginning({ ...parts, terms: own }, bare), anything(own))),
    );
    return alt(words, calls, ...tokens.map((id) => seq(range(ADDED + id), calls)));
  }
  if (mark !== undefined) {
    const words = wordsOf(parts.terms, JSON.stringify(mark), (own) =>
      own.not(own.seq(anything(own), own.text(mark), anything(own))),
    );
    return seq(words, optional(calls));
  }
  const words = repeat(
    alt(range(0, 255), ...gaps(tokens, size).map(([low, high]) => range(ADDED + low, ADDED + high))),
  );
  return seq(words, optional(calls));
}

const words = new WeakMap<Terms, Map<string, Term>>();

/** The automaton of a format's words, made once for all requests: its states are then the same, and so are their masks. */
function wordsOf(terms: Terms, key: string, write: (terms: Terms) => Term): Term {
  let own = words.get(terms);
  if (!own) words.set(terms, (own = new Map()));
  let term = own.get(key);
  if (!term) own.set(key, (term = machineOf(terms, write, "tools")));
  return term;
}

const anything = ({ repeat, range }: Terms): Term => repeat(range(0, 255));

/** Ids from 0 to `size` - 1 but for some, as spans. */
function gaps(ids: readonly number[], size: number): (readonly [number, number])[] {
  const sorted = [-1, ...[...ids].sort((a, b) => a - b), size];
  return sorted.slice(1).flatMap((id, i) => (id - 1 > sorted[i]! ? [[sorted[i]! + 1, id - 1] as const] : []));
}

function written({ terms, json }: Parts, parts: Written): Term {
  const pieces = joined(parts).flatMap((part) =>
    typeof part === "number" ? [terms.range(ADDED + part)] : textPieces(terms, json.space, part),
  );
  return terms.seq(...pieces);
}

/** As `written`, with any white space, and more of it in front: for what is told apart and not written. */
function beginning({ terms }: Parts, parts: Written): Term {
  const { repeat, alt, range } = terms;
  const spaces = repeat(alt(...[0x20, 0x0a, 0x0d, 0x09].map((byte) => range(byte))));
  const pieces = joined(parts).flatMap((part) => (typeof part === "number" ? [] : textPieces(terms, spaces, part)));
  return terms.seq(spaces, ...pieces);
}

const textPieces = (terms: Terms, space: Term, part: string): Term[] =>
  part.split(/(\s+)/).map((piece) => (/^\s+$/.test(piece) ? space : terms.text(piece)));

/** Neighbouring texts as one: its cost is that of whole tokens. */
function joined(parts: Written): Written {
  const out: (string | number)[] = [];
  for (const part of parts) {
    const last = out.at(-1);
    if (typeof part === "string" && typeof last === "string") out[out.length - 1] = last + part;
    else out.push(part);
  }
  return out;
}
