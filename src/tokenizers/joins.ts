import type { BpeModel } from "./bpe-json.js";
import { BYTE_TOKEN, bytesAsCharacters } from "./bytes.js";

const BITS = 22;

/**
 * Where a stretch of a word ends that can be merged by itself: before a character that no merge ever joins to the one
 * before it. Cutting there changes nothing, and makes words short enough to be remembered where a tokenizer cuts no text
 * (Llama 2, Gemma).
 */
export function joinTest(model: BpeModel, byteLevel: boolean): (word: string, from: number) => number {
  const { vocab, merges, unkToken, byteFallback } = model;
  const stands = (token: string) => token === unkToken || (byteFallback && BYTE_TOKEN.test(token));
  if (merges.some(([left, right]) => stands(left) || stands(right))) return (word) => word.length;
  const joined = new Uint32Array(1 << (BITS - 5));
  for (const [left, right] of merges) {
    const bit = hash(lastPoint(left), right.codePointAt(0)!);
    joined[bit >>> 5]! |= 1 << (bit & 31);
  }
  const first = byteLevel ? (c: number) => byteCharacter(c, 0) : (c: number) => c;
  const last = byteLevel ? (c: number) => byteCharacter(c, -1) : (c: number) => c;
  const known = (point: number) => vocab.has(String.fromCodePoint(point));
  return (word, from) => {
    let left = word.codePointAt(from)!;
    for (let at = from + width(left); at < word.length; ) {
      const right = word.codePointAt(at)!;
      const [before, behind] = [last(left), first(right)];
      const bit = hash(before, behind);
      const apart = (joined[bit >>> 5]! & (1 << (bit & 31))) === 0;
      // Unknown characters may become one unknown token together.
      if (apart && known(before) && known(behind)) return at;
      left = right;
      at += width(right);
    }
    return word.length;
  };
}

const width = (point: number): number => (point > 0xffff ? 2 : 1);

function lastPoint(text: string): number {
  const point = text.codePointAt(text.length - 2);
  return point !== undefined && point > 0xffff ? point : text.charCodeAt(text.length - 1);
}

/** Two pairs may share a bit: then a word is cut less often than it could be. */
function hash(left: number, right: number): number {
  return (Math.imul(left, 0x9e3779b1) + Math.imul(right, 0x85ebca77)) >>> (32 - BITS);
}

const ascii = Array.from({ length: 128 }, (_, c) => bytesAsCharacters(String.fromCharCode(c)).charCodeAt(0));

/** The character that stands for the first or last byte of a code point. */
function byteCharacter(point: number, index: 0 | -1): number {
  if (point < 128) return ascii[point]!;
  const written = bytesAsCharacters(String.fromCodePoint(point));
  return written.charCodeAt(index === 0 ? 0 : written.length - 1);
}
