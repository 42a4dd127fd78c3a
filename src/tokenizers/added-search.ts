import type { AddedToken } from "./added-tokens.js";

/** A stretch of a text: an added token, or what lies between two. */
export interface Stretch {
  readonly token: AddedToken | undefined;
  readonly from: number;
  readonly to: number;
}

interface Branch {
  readonly next: Map<number, Branch>;
  token?: AddedToken;
}

const word = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const white = /\p{White_Space}/u;

/** Cuts a text at its added tokens. */
export type AddedSearch = (text: string) => Iterable<Stretch | undefined>;

/**
 * Finds added tokens in texts: the leftmost, of those the longest, as the `tokenizers` library does. `spelled` says how a
 * token is written there. Yields undefined now and then in a long text without any.
 */
export function addedSearch(tokens: readonly AddedToken[], spelled: (token: AddedToken) => string): AddedSearch {
  const root: Branch = { next: new Map() };
  for (const token of tokens) {
    let branch = root;
    const text = spelled(token);
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      let below = branch.next.get(unit);
      if (!below) branch.next.set(unit, (below = { next: new Map() }));
      branch = below;
    }
    if (text !== "") branch.token ??= token;
  }
  if (root.next.size === 0) return (text) => (text === "" ? [] : [{ token: undefined, from: 0, to: text.length }]);
  const firsts = [...root.next.keys()].map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`);
  return (text) => stretches(text, root, new RegExp(`[${firsts.join("")}]`, "g"));
}

function* stretches(text: string, root: Branch, firsts: RegExp): Generator<Stretch | undefined, void> {
  let done = 0;
  let looked = 0;
  for (let at = 0; at < text.length; ) {
    firsts.lastIndex = at;
    const begin = firsts.exec(text);
    if (!begin) break;
    at = begin.index;
    if (++looked % 8192 === 0) yield undefined;
    const found = longest(text, at, root);
    if (!found) {
      at++;
      continue;
    }
    const { token, end } = found;
    const start = at;
    at = end;
    if (token.singleWord && (isWordBefore(text, start) || isWordAt(text, end))) continue;
    const from = token.lstrip ? Math.max(whiteBefore(text, start, done), done) : start;
    const to = token.rstrip ? whiteAfter(text, end) : end;
    if (from >= to) continue; // the token before took these spaces: the library drops the empty rest
    if (done < from) yield { token: undefined, from: done, to: from };
    yield { token, from, to };
    done = to;
  }
  if (done < text.length) yield { token: undefined, from: done, to: text.length };
}

function longest(text: string, from: number, root: Branch): { token: AddedToken; end: number } | undefined {
  let found: { token: AddedToken; end: number } | undefined;
  let branch: Branch | undefined = root;
  for (let at = from; branch; ) {
    branch = branch.next.get(text.charCodeAt(at++));
    if (branch?.token) found = { token: branch.token, end: at };
  }
  return found;
}

function isWordBefore(text: string, at: number): boolean {
  if (at === 0) return false;
  const low = (text.charCodeAt(at - 1) & 0xfc00) === 0xdc00;
  return word.test(text.slice(low ? at - 2 : at - 1, at));
}

function isWordAt(text: string, at: number): boolean {
  return at < text.length && word.test(String.fromCodePoint(text.codePointAt(at)!));
}

/** Where the white space before `at` begins, no further back than `least`: all white space is in the basic plane. */
function whiteBefore(text: string, at: number, least: number): number {
  while (at > least && white.test(text[at - 1]!)) at--;
  return at;
}

function whiteAfter(text: string, at: number): number {
  while (at < text.length && white.test(text[at]!)) at++;
  return at;
}
