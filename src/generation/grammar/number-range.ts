import { UserError } from "../../tensor/index.js";
import { machineOf } from "./machine.js";
import type { Term, Terms } from "./terms.js";

/** A bound of numbers. */
export interface Bound {
  readonly at: number;
  /** The bound itself is out. */
  readonly open: boolean;
}

export interface NumberRange {
  readonly whole: boolean;
  readonly least: Bound | undefined;
  readonly most: Bound | undefined;
}

/** Decimal digits of a number that is not negative: before the point, and behind it without zeros at the end. */
interface Digits {
  readonly whole: string;
  readonly part: string;
}

/** With so many digits in all, different decimals are different doubles. */
const DIGITS = 15;
/** Digits before the point on a side without a bound, and behind it. */
const [USUAL_WHOLE, USUAL_PART] = [9, 6];

/**
 * Numbers between two bounds, written without an exponent. Throws UserError, beginning with `where`, for bounds that cannot be
 * held to the digit, and where no number lies between them.
 */
export function numberRange(terms: Terms, range: NumberRange, where: string): Term {
  const { whole, least, most } = wholeBounds(range);
  const bounds = [least, most].flatMap((bound) => (bound ? [digitsOf(Math.abs(bound.at))] : []));
  const longest = Math.max(...bounds.map((bound) => bound.whole.length));
  const finest = Math.max(...bounds.map((bound) => bound.part.length));
  const before = least && most ? longest : Math.max(longest, whole ? DIGITS : USUAL_WHOLE);
  const behind = whole ? 0 : Math.min(Math.max(finest, USUAL_PART), DIGITS - before);
  if (finest > behind || (whole && longest > 16)) {
    throw new UserError(`${where}: a bound of more than ${DIGITS} digits cannot be held`);
  }
  const write = (own: Terms): Term => {
    const shape = format(own, before, behind);
    const side = (from: Bound | undefined, to: Bound | undefined): Term =>
      [from && atLeast(own, from), to && atMost(own, to)].reduce<Term>(
        (all, one) => (one ? own.both(all, one) : all),
        shape,
      );
    const flip = (bound: Bound | undefined) => bound && { ...bound, at: -bound.at };
    const positive = most && most.at < 0 ? own.none : side(least && least.at >= 0 ? least : undefined, most);
    const negative =
      least && least.at >= 0 ? own.none : side(most && most.at <= 0 ? flip(most) : undefined, flip(least));
    return own.alt(positive, own.seq(own.range(0x2d), negative));
  };
  return machineOf(terms, write, where);
}

/** Whole numbers have whole bounds that are in. */
function wholeBounds({ whole, least, most }: NumberRange): NumberRange {
  if (!whole) return { whole, least, most };
  const from = least && (least.open ? Math.floor(least.at) + 1 : Math.ceil(least.at));
  const to = most && (most.open ? Math.ceil(most.at) - 1 : Math.floor(most.at));
  const bound = (at: number | undefined) => (at === undefined ? undefined : { at, open: false });
  return { whole, least: bound(from), most: bound(to) };
}

function digitsOf(value: number): Digits {
  const [mantissa, exponent = "0"] = String(value).split("e") as [string, string?];
  const [whole, part = ""] = mantissa.split(".") as [string, string?];
  const shift = Number(exponent);
  const all = whole + part;
  const point = whole.length + shift;
  const padded = point <= 0 ? "0".repeat(1 - point) + all : all.padEnd(point, "0");
  const at = Math.max(1, point);
  return { whole: padded.slice(0, at).replace(/^0+(?=\d)/, ""), part: padded.slice(at).replace(/0+$/, "") };
}

const digit = ({ range }: Terms, from = 0, to = 9): Term => range(0x30 + from, 0x30 + to);
const point = ({ range }: Terms): Term => range(0x2e);

/** A number as JSON writes it, with bounds for its digits. */
function format(terms: Terms, before: number, behind: number): Term {
  const { alt, seq, repeat, optional } = terms;
  const whole = alt(digit(terms, 0, 0), seq(digit(terms, 1), repeat(digit(terms), 0, before - 1)));
  return behind === 0 ? whole : seq(whole, optional(seq(point(terms), repeat(digit(terms), 1, behind))));
}

/** Any digits, with a point behind them or not. */
const behindPoint = (terms: Terms): Term => terms.optional(terms.seq(point(terms), terms.repeat(digit(terms))));

function atLeast(terms: Terms, { at, open }: Bound): Term {
  const { seq, alt, repeat, range, empty } = terms;
  const { whole, part } = digitsOf(at);
  const zeros = repeat(digit(terms, 0, 0));
  const above = seq(zeros, digit(terms, 1), repeat(digit(terms)));
  let fraction = open ? above : repeat(digit(terms));
  for (const one of [...part].reverse()) fraction = stepped(terms, one, { from: Number(one) + 1, to: 9 }, fraction);
  const same = part === "" && !open ? alt(empty, seq(point(terms), fraction)) : seq(point(terms), fraction);
  let walk: Term = same;
  for (const [i, one] of [...[...whole].entries()].reverse()) {
    const rest = seq(repeat(digit(terms), whole.length - 1 - i, whole.length - 1 - i), behindPoint(terms));
    const higher = Number(one) < 9 ? seq(digit(terms, Number(one) + 1), rest) : terms.none;
    walk = alt(higher, seq(range(one.charCodeAt(0)), walk));
  }
  return alt(walk, seq(digit(terms, 1), repeat(digit(terms), whole.length), behindPoint(terms)));
}

function atMost(terms: Terms, { at, open }: Bound): Term {
  const { seq, alt, repeat, range, empty, none } = terms;
  const { whole, part } = digitsOf(at);
  // Digits of the fraction may end early: then the number is smaller, or the bound itself where nothing is left of it.
  let fraction: Term = open ? none : repeat(digit(terms, 0, 0));
  for (const one of [...part].reverse()) {
    const lower = Number(one) > 0 ? seq(digit(terms, 0, Number(one) - 1), repeat(digit(terms))) : none;
    fraction = alt(empty, lower, seq(range(one.charCodeAt(0)), fraction));
  }
  const bare = part === "" && open ? none : empty;
  let walk: Term = alt(bare, seq(point(terms), fraction));
  for (const [i, one] of [...[...whole].entries()].reverse()) {
    const left = whole.length - 1 - i;
    const from = i === 0 && left > 0 ? 1 : 0;
    const rest = seq(repeat(digit(terms), left, left), behindPoint(terms));
    const lower = Number(one) - 1 >= from ? seq(digit(terms, from, Number(one) - 1), rest) : none;
    walk = alt(lower, seq(range(one.charCodeAt(0)), walk));
  }
  const shorter = whole.length > 1 ? seq(repeat(digit(terms), 1, whole.length - 1), behindPoint(terms)) : none;
  return alt(shorter, walk);
}

/** A digit of its own and what follows it, or one of others and then any digits. */
function stepped(terms: Terms, own: string, { from, to }: { from: number; to: number }, next: Term): Term {
  const { seq, alt, repeat, range, none } = terms;
  const other = from <= to ? seq(digit(terms, from, to), repeat(digit(terms))) : none;
  return alt(other, seq(range(own.charCodeAt(0)), next));
}
