import { EVERY, written } from "./characters.js";
import { machineOf } from "./machine.js";
import type { Term, Terms } from "./terms.js";

/** Brackets inside brackets, where a schema does not say what they hold: more is a model that runs away. */
const DEEPEST = 32;

/** What every JSON text is made of (RFC 8259). */
export interface JsonParts {
  /** Between two parts: a space or a line's end, never a run of them. */
  readonly space: Term;
  /** One character of a string, escapes included; no half surrogates. */
  readonly character: Term;
  /** Any number up to 1e199: so none becomes infinite, whatever its digits. */
  readonly number: Term;
  /** Any whole number of at most 15 digits. */
  readonly integer: Term;
  /** A string of characters or whatever else. */
  quoted(content: Term): Term;
  /** Any value. */
  readonly value: Term;
  /** Any object. */
  readonly object: Term;
  /** Any list. */
  readonly list: Term;
  /** A list of items, in brackets. */
  listOf(items: Items): Term;
  /** `key` is a quoted string. */
  member(key: Term, value: Term): Term;
}

/** Items of a list: the first ones each of its own, then others. */
export interface Items {
  readonly first: readonly Term[];
  readonly others: Term;
  readonly least: number;
  readonly most: number;
}

const parts = new WeakMap<Terms, JsonParts>();

/** The parts of JSON texts, made once. */
export function jsonParts(terms: Terms): JsonParts {
  let own = parts.get(terms);
  if (!own) parts.set(terms, (own = createParts(terms)));
  return own;
}

function createParts(terms: Terms): JsonParts {
  const { seq, alt, repeat, optional, range, text } = terms;
  const set = (chars: string) => alt(...[...chars].map((one) => range(one.charCodeAt(0))));
  const space = optional(set(" \n\r\t"));
  const character = machineOf(terms, anyCharacter, "JSON");
  const quoted = (content: Term) => seq(range(0x22), content, range(0x22));
  const string = quoted(repeat(character));
  const digit = range(0x30, 0x39);
  const whole = (most: number) => alt(range(0x30), seq(range(0x31, 0x39), repeat(digit, 0, most - 1)));
  const sign = optional(range(0x2d));
  const integer = seq(sign, whole(15));
  const large = alt(repeat(digit, 1, 2), seq(range(0x31), digit, digit));
  const exponent = seq(set("eE"), alt(seq(optional(set("+")), large), seq(range(0x2d), repeat(digit, 1, 3))));
  const fraction = seq(range(0x2e), repeat(digit, 1, 24));
  const number = seq(sign, whole(21), optional(fraction), optional(exponent));
  const member = (key: Term, value: Term) => seq(key, space, range(0x3a), space, value, space);
  const comma = seq(range(0x2c), space);
  const listOf = (items: Items) => listTerm(terms, { space, comma }, items);

  const scalar = alt(string, number, text("true"), text("false"), text("null"));
  let [value, object, list] = [scalar, terms.none, terms.none];
  for (let depth = 0; depth < DEEPEST; depth++) {
    const one = member(string, value);
    const members = optional(seq(one, repeat(seq(comma, one))));
    object = seq(range(0x7b), space, members, range(0x7d));
    list = listOf({ first: [], others: value, least: 0, most: Number.POSITIVE_INFINITY });
    value = alt(scalar, object, list);
  }
  return { space, character, number, integer, quoted, value, object, list, listOf, member };
}

function anyCharacter(terms: Terms): Term {
  const { seq, alt, range } = terms;
  const set = (...spans: readonly string[]) =>
    alt(...spans.map((span) => range(span.charCodeAt(0), span.charCodeAt(span.length - 1))));
  const hex = set("09", "af", "AF");
  const low = seq(set("d", "D"), set("cf", "CF"), hex, hex);
  const code = alt(
    seq(set("09", "ac", "AC", "ef", "EF"), hex, hex, hex),
    seq(set("d", "D"), set("07"), hex, hex),
    seq(set("d", "D"), set("89", "ab", "AB"), hex, hex, terms.text("\\u"), low),
  );
  const simple = alt(...[...'"\\/bfnrt'].map((one) => range(one.charCodeAt(0))));
  return alt(written(terms, EVERY), seq(range(0x5c), alt(simple, seq(range(0x75), code))));
}

function listTerm(
  { seq, alt, optional, repeat, range, empty }: Terms,
  { space, comma }: { readonly space: Term; readonly comma: Term },
  { first, others, least, most }: Items,
): Term {
  const more = (item: Term) => seq(comma, item, space);
  const rest = Math.max(0, most - first.length);
  let tail = repeat(more(others), Math.max(0, least - first.length), rest);
  for (let i = Math.min(first.length, most) - 1; i > 0; i--) {
    const own = seq(more(first[i]!), tail);
    tail = i < least ? own : optional(own);
  }
  const head = first[0] ?? others;
  const afterHead = first.length > 0 ? tail : repeat(more(others), Math.max(0, least - 1), most - 1);
  const all = most === 0 ? empty : seq(head, space, afterHead);
  return seq(range(0x5b), space, least === 0 ? alt(empty, all) : all, range(0x5d));
}
