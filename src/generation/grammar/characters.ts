import type { Term, Terms } from "./terms.js";

/** Code points from `low` to `high`. */
export type Span = readonly [low: number, high: number];

export const EVERY: readonly Span[] = [[0, 0x10ffff]];

/** Spans in order, those that touch as one. */
function joined(spans: readonly Span[]): Span[] {
  const out: [number, number][] = [];
  for (const [low, high] of [...spans].sort((a, b) => a[0] - b[0])) {
    const last = out.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else out.push([low, high]);
  }
  return out;
}

/** All code points but these. */
export function inverted(spans: readonly Span[]): Span[] {
  const out: Span[] = [];
  let from = 0;
  for (const [low, high] of joined(spans)) {
    if (low > from) out.push([from, low - 1]);
    from = high + 1;
  }
  return from <= 0x10ffff ? [...out, [from, 0x10ffff]] : out;
}

/** How JSON.stringify writes what cannot stand in a string as it is. */
const ESCAPED = [...Array.from({ length: 0x20 }, (_, code) => code), 0x22, 0x5c];

/**
 * One character of these, as JSON.stringify writes it in a string: UTF-8, with an escape only where there must be one. Half
 * surrogates are none.
 */
export function written(terms: Terms, spans: readonly Span[]): Term {
  const parts: Term[] = [];
  const own = joined(spans);
  for (const code of ESCAPED) {
    if (own.some(([low, high]) => code >= low && code <= high))
      parts.push(terms.text(JSON.stringify(String.fromCharCode(code)).slice(1, -1)));
  }
  const plain = inverted([...inverted(own), ...ESCAPED.map((code): Span => [code, code]), [0xd800, 0xdfff]]);
  for (const [low, high] of plain) parts.push(...utf8(terms, low, high));
  return terms.alt(...parts);
}

/** Greatest code points of one, two, three and four bytes. */
const LAST = [0x7f, 0x7ff, 0xffff, 0x10ffff];

/** The UTF-8 of code points (RFC 3629), as sequences of ranges of bytes. */
function* utf8(terms: Terms, low: number, high: number): Generator<Term> {
  let from = low;
  for (const [i, last] of LAST.entries()) {
    if (from > high) return;
    if (from > last) continue;
    const to = Math.min(high, last);
    yield bytesBetween(terms, encoded(from, i), encoded(to, i));
    from = to + 1;
  }
}

/** A code point in 1 + `more` bytes. */
function encoded(code: number, more: number): number[] {
  if (more === 0) return [code];
  const lead = [0, 0xc0, 0xe0, 0xf0][more]! | (code >> (6 * more));
  const rest = Array.from({ length: more }, (_, i) => 0x80 | ((code >> (6 * (more - 1 - i))) & 0x3f));
  return [lead, ...rest];
}

/** Texts of as many bytes, all but the first 0x80 to 0xBF, that lie between two in order. */
function bytesBetween(terms: Terms, low: readonly number[], high: readonly number[]): Term {
  const [[first, ...rest], [last, ...end]] = [low, high] as unknown as [[number, ...number[]], [number, ...number[]]];
  if (rest.length === 0) return terms.range(first, last);
  const [least, most] = [rest.map(() => 0x80), rest.map(() => 0xbf)];
  if (first === last) return terms.seq(terms.range(first), bytesBetween(terms, rest, end));
  const any = terms.seq(...rest.map(() => terms.range(0x80, 0xbf)));
  return terms.alt(
    terms.seq(terms.range(first), bytesBetween(terms, rest, most)),
    last - first > 1 ? terms.seq(terms.range(first + 1, last - 1), any) : terms.none,
    terms.seq(terms.range(last), bytesBetween(terms, least, end)),
  );
}
