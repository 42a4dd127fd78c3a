import { UserError } from "../tensor/index.js";
import type { AddedToken } from "./engine.js";

/** Token ids and the characters (UTF-16 code units) [start, end) of the text each covers; -1 for tokens not in it. */
export interface Encoding {
  readonly ids: readonly number[];
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

/**
 * Finds each token in the text by its bytes. A token that holds part of a character covers all of it; a space that the
 * tokenizer put before a section covers nothing; an added token covers the whitespace it swallows. Throws UserError
 * when the bytes of the tokens are not the bytes of the text, as with a tokenizer that changes the text.
 */
export function locateTokens(
  text: string,
  ids: readonly number[],
  bytesOf: (id: number) => Uint8Array,
  addedToken: (id: number) => AddedToken | undefined,
): { starts: number[]; ends: number[] } {
  const bytes = new TextEncoder().encode(text);
  const character = characterIndex(text, bytes);
  const endOf = (byte: number) => {
    while ((bytes[byte]! & 0xc0) === 0x80) byte++;
    return character(byte);
  };
  const starts: number[] = [];
  const ends: number[] = [];
  let at = 0;
  const cover = (from: number, to: number) => {
    starts.push(character(from));
    ends.push(Math.max(character(from), endOf(to)));
  };
  for (let i = 0; i < ids.length; ) {
    const token = addedToken(ids[i]!);
    if (token) {
      const from = at;
      if (token.lstrip) at = skipWhitespace(text, at, character);
      at = expect(bytes, at, bytesOf(ids[i]!), text, character);
      if (token.rstrip) at = skipWhitespace(text, at, character);
      cover(from, at);
      i++;
      continue;
    }
    let end = i;
    while (end < ids.length && !addedToken(ids[end]!)) end++;
    const section = ids.slice(i, end).map(bytesOf);
    let invented = inventedSpace(bytes, at, section, end < ids.length) ? 1 : 0;
    for (const piece of section) {
      const from = at;
      at = expect(bytes, at, piece.subarray(invented), text, character);
      invented = 0;
      cover(from, at);
    }
    i = end;
  }
  if (at !== bytes.length && skipWhitespace(text, at, character) !== bytes.length) mismatch(text, character(at));
  return { starts, ends };
}

/** Did the tokenizer put a space before this section? Its bytes are then the text's only without the first one. */
function inventedSpace(bytes: Uint8Array, at: number, section: readonly Uint8Array[], more: boolean): boolean {
  if (section[0]?.[0] !== 0x20) return false;
  const length = section.reduce((sum, piece) => sum + piece.length, 0);
  if (bytes[at] !== 0x20 || (!more && at + length > bytes.length)) return true;
  return !matches(bytes, at, section);
}

function matches(bytes: Uint8Array, at: number, section: readonly Uint8Array[]): boolean {
  for (const piece of section) for (const byte of piece) if (bytes[at++] !== byte) return false;
  return true;
}

function expect(
  bytes: Uint8Array,
  at: number,
  wanted: Uint8Array,
  text: string,
  character: (byte: number) => number,
): number {
  for (const byte of wanted) if (bytes[at++] !== byte) mismatch(text, character(Math.min(at - 1, bytes.length)));
  return at;
}

function mismatch(text: string, at: number): never {
  throw new UserError(
    `tokenizer: its tokens do not spell the text from character ${at} on, ${JSON.stringify(text.slice(at, at + 20))}: it changes or drops characters there, so what each token covers is unknown. Normalise that text (NFC) or take it out.`,
  );
}

/** The byte after the Unicode white space that begins at byte `at`, all of which is in the basic plane. */
function skipWhitespace(text: string, at: number, character: (byte: number) => number): number {
  for (let i = character(at); i < text.length && /\p{White_Space}/u.test(text[i]!); i++) {
    at += text.charCodeAt(i) < 0x80 ? 1 : text.charCodeAt(i) < 0x800 ? 2 : 3;
  }
  return at;
}

/** The index of the character that byte `b` of the UTF-8 belongs to. */
function characterIndex(text: string, bytes: Uint8Array): (byte: number) => number {
  if (bytes.length === text.length) return (byte) => byte;
  const index = new Int32Array(bytes.length + 1);
  let next = 0;
  let current = 0;
  for (let b = 0; b < bytes.length; b++) {
    if ((bytes[b]! & 0xc0) !== 0x80) {
      current = next;
      next += bytes[b]! >= 0xf0 ? 2 : 1;
    }
    index[b] = current;
  }
  index[bytes.length] = text.length;
  return (byte) => index[byte]!;
}
