import { characters, isWide } from "./values.js";
import { STEP, spend, spendText, TemplateError, Unsupported } from "./work.js";

/** Python's white space, as the inside of a character class. */
export const SPACES = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";

const space = new RegExp(`[${SPACES}]`);
const isSpace = (character: string): boolean => space.test(character);

let exploded: { readonly text: string; readonly points: readonly string[] } = { text: "", points: [] };

/** A list of code points when there are any of two units, else the text itself: both are indexed alike. */
export function indexed(text: string): string | readonly string[] {
  spend(STEP);
  if (!isWide(text)) return text;
  if (exploded.text !== text) {
    spend(16 * text.length);
    exploded = { text, points: [...text] };
  }
  return exploded.points;
}

/** Position in code points of a position in UTF-16 units. */
export const pointsBefore = (text: string, unit: number): number =>
  unit < 0 || !isWide(text) ? unit : characters(text.slice(0, unit));

/** Position in UTF-16 units of a position in code points. */
export function unitOf(text: string, point: number): number {
  if (!isWide(text)) return point;
  let unit = 0;
  for (let i = 0; i < point && unit < text.length; i++) unit += text.codePointAt(unit)! > 0xffff ? 2 : 1;
  return unit;
}

/** Strips the given characters, or white space, from one or both ends. */
export function strip(text: string, characters: string | undefined, left: boolean, right: boolean): string {
  spend(text.length);
  const points = indexed(text);
  const given = characters === undefined ? undefined : new Set(characters);
  const stripped = (at: number) => (given ? given.has(points[at]!) : isSpace(points[at]!));
  let [from, to] = [0, points.length];
  while (left && from < to && stripped(from)) from++;
  while (right && to > from && stripped(to - 1)) to--;
  return typeof points === "string" ? points.slice(from, to) : points.slice(from, to).join("");
}

/** `split` and `rsplit` without a separator: at runs of white space. */
export function splitSpaces(text: string, most: number, fromRight: boolean): string[] {
  spend(2 * text.length);
  const words: string[] = [];
  const run = fromRight ? reversed(text) : text;
  let at = 0;
  for (;;) {
    while (at < run.length && isSpace(run[at]!)) at++;
    if (at >= run.length) break;
    spend(32);
    if (words.length === most) {
      words.push(run.slice(at));
      break;
    }
    const from = at;
    while (at < run.length && !isSpace(run[at]!)) at++;
    words.push(run.slice(from, at));
  }
  return fromRight ? words.map(reversed).reverse() : words;
}

/** Units in reverse: turned round twice it is the text again. */
const reversed = (text: string): string => text.split("").reverse().join("");

/** `split` and `rsplit` at a separator. Throws TemplateError for an empty one. */
export function splitAt(text: string, separator: string, most: number, fromRight: boolean): string[] {
  if (separator === "") throw new TemplateError("empty separator");
  spend(text.length);
  const parts: string[] = [];
  let rest = text.length;
  let from = 0;
  while (most < 0 || parts.length < most) {
    const at = fromRight ? lastBefore(text, separator, rest) : text.indexOf(separator, from);
    if (at < 0) break;
    spend(32);
    parts.push(fromRight ? text.slice(at + separator.length, rest) : text.slice(from, at));
    if (fromRight) rest = at;
    else from = at + separator.length;
  }
  parts.push(text.slice(from, rest));
  return fromRight ? parts.reverse() : parts;
}

const lastBefore = (text: string, separator: string, end: number): number =>
  end < separator.length ? -1 : text.lastIndexOf(separator, end - separator.length);

const LINE_ENDS = "\n-\r\x1c-\x1e\x85\u2028\u2029";
const lineEnds = new RegExp(`\r\n|[${LINE_ENDS}]`, "g");

export function splitLines(text: string, keepEnds: boolean): string[] {
  spend(text.length);
  const lines: string[] = [];
  let from = 0;
  for (const match of text.matchAll(lineEnds)) {
    spend(32);
    const end = match.index + match[0].length;
    lines.push(text.slice(from, keepEnds ? end : match.index));
    from = end;
  }
  if (from < text.length) lines.push(text.slice(from));
  return lines;
}

/** Replaces the first `most` occurrences, all of them when it is negative. */
export function replace(text: string, old: string, by: string, most: number): string {
  spend(text.length);
  if (old === "") return insertEverywhere(text, by, most);
  const pieces: string[] = [];
  let length = 0;
  let from = 0;
  for (let n = 0; most < 0 || n < most; n++) {
    const at = text.indexOf(old, from);
    if (at < 0) break;
    spend(16);
    length += at - from + by.length;
    spendLength(length);
    pieces.push(text.slice(from, at), by);
    from = at + old.length;
  }
  if (from === 0) return text;
  spendText(length + text.length - from);
  pieces.push(text.slice(from));
  return pieces.join("");
}

/** Looks at a length that grows, without counting it yet. */
function spendLength(length: number): void {
  if (length > 1 << 24) spendText(length);
}

function insertEverywhere(text: string, by: string, most: number): string {
  const points = [...text];
  const count = most < 0 ? points.length + 1 : Math.min(most, points.length + 1);
  spendText(text.length + count * by.length);
  const pieces = points.flatMap((point, i) => (i < count ? [by, point] : [point]));
  if (count > points.length) pieces.push(by);
  return pieces.join("");
}

export function repeat(text: string, count: number): string {
  if (count <= 0 || text === "") return "";
  spendText(text.length * count);
  return text.repeat(count);
}

/** Fills a text to a width; `share` is how much of the filling goes left: 0, 1, or undefined for Python's centre. */
export function pad(text: string, width: number, fill: string, share?: 0 | 1): string {
  if (characters(fill) !== 1) throw new TemplateError("The fill character must be exactly one character long");
  const missing = width - characters(text);
  if (missing <= 0) return text;
  const left = share === undefined ? Math.floor(missing / 2) + (missing & width & 1) : share * missing;
  spendText(text.length + missing * fill.length);
  return fill.repeat(left) + text + fill.repeat(missing - left);
}

const oddTitles = /[\u01c4-\u01cc\u01f1-\u01f3]/;

/** The first letter of a word as a title has it. */
function titleLetter(character: string): string {
  const upper = character.toUpperCase();
  if (oddTitles.test(character) || (upper.length > character.length && character !== "ß"))
    throw new Unsupported(`the title case of ${JSON.stringify(character)}`);
  return character === "ß" ? "Ss" : upper;
}

export function capitalize(text: string): string {
  const [first] = text;
  if (first === undefined) return "";
  spend(text.length);
  return titleLetter(first) + text.slice(first.length).toLowerCase();
}

const cased = /[\p{Lowercase}\p{Uppercase}\p{Lt}]/u;

/** Python's `str.title`: every run of letters begins with a capital. */
export function title(text: string): string {
  spend(2 * text.length);
  let inside = false;
  let out = "";
  for (const character of text) {
    out += inside ? character.toLowerCase() : cased.test(character) ? titleLetter(character) : character;
    inside = cased.test(character);
  }
  return out;
}

export function swapcase(text: string): string {
  spend(2 * text.length);
  let out = "";
  for (const c of text) out += /\p{Uppercase}/u.test(c) ? c.toLowerCase() : c.toUpperCase();
  return out;
}

export function casefold(text: string): string {
  spend(text.length);
  if (/[^\0-\x7f]/.test(text)) throw new Unsupported("casefold() of other letters than ASCII's");
  return text.toLowerCase();
}

export function expandTabs(text: string, size: number): string {
  spend(text.length);
  const pieces: string[] = [];
  let column = 0;
  for (const character of text) {
    if (character === "\t") {
      const width = size > 0 ? size - (column % size) : 0;
      spendText(width);
      pieces.push(" ".repeat(width));
      column += width;
    } else {
      pieces.push(character);
      column = character === "\n" || character === "\r" ? 0 : column + 1;
    }
  }
  return pieces.join("");
}

const all = (pattern: RegExp) => (text: string) => text !== "" && pattern.test(text);

const lowercase = (text: string) => /\p{Lowercase}/u.test(text) && !/[\p{Uppercase}\p{Lt}]/u.test(text);
const uppercase = (text: string) => /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text);

function titlecase(text: string): boolean {
  let [inside, found] = [false, false];
  for (const character of text) {
    const capital = /[\p{Uppercase}\p{Lt}]/u.test(character);
    const small = /\p{Lowercase}/u.test(character);
    if ((capital && inside) || (small && !inside)) return false;
    inside = capital || small;
    found ||= inside;
  }
  return found;
}

/** Refuses what Unicode's general categories do not tell. */
const plainDigits = (name: string, test: (text: string) => boolean, unclear: RegExp) => (text: string) => {
  if (unclear.test(text)) throw new Unsupported(`${name}() of such characters`);
  return test(text);
};

/** `str.isalpha` and its like. */
export const isTests: Readonly<Record<string, (text: string) => boolean>> = {
  isalnum: plainDigits("isalnum", all(/^[\p{L}\p{Nd}]+$/u), /\p{No}|\p{Nl}/u),
  isalpha: all(/^\p{L}+$/u),
  isascii: (text) => /^[\0-\x7f]*$/.test(text),
  isdecimal: all(/^\p{Nd}+$/u),
  isdigit: plainDigits("isdigit", all(/^\p{Nd}+$/u), /\p{No}/u),
  isidentifier: all(/^[\p{XID_Start}_]\p{XID_Continue}*$/u),
  islower: lowercase,
  isnumeric: plainDigits("isnumeric", all(/^\p{N}+$/u), /\p{Script=Han}/u),
  isprintable: (text) => !/[\p{C}\p{Z}]/u.test(text.replaceAll(" ", "")),
  isspace: all(new RegExp(`^[${SPACES}]+$`)),
  istitle: titlecase,
  isupper: uppercase,
};

/** Order of two texts by code points, as Python compares them. */
export function compareText(a: string, b: string): number {
  spend(Math.min(a.length, b.length));
  if (a === b) return 0;
  if (!isWide(a) && !isWide(b)) return a < b ? -1 : 1;
  let i = 0;
  while (i < a.length && i < b.length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === a.length || i === b.length) return a.length - b.length;
  const inPair = i > 0 && (a.charCodeAt(i) & 0xfc00) === 0xdc00 && (a.charCodeAt(i - 1) & 0xfc00) === 0xd800;
  return a.codePointAt(inPair ? i - 1 : i)! - b.codePointAt(inPair ? i - 1 : i)!;
}

/** Escapes what HTML would read as markup. */
export function escapeHtml(text: string): string {
  spend(text.length);
  const escaped = text
    .replaceAll("&", "&amp;")
    .replaceAll(">", "&gt;")
    .replaceAll("<", "&lt;")
    .replaceAll("'", "&#39;")
    .replaceAll('"', "&#34;");
  spendText(escaped.length);
  return escaped;
}
