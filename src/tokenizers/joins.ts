import type { BpeModel } from "./bpe-json.js";
import { BYTE_TOKEN, bytesAsCharacters } from "./bytes.js";

const BITS = 22;

/**
 * Whether a merge ever joins two characters (code points) that are beside each other. Where none does, a word can be cut
 * and its parts merged by themselves: that changes nothing, and makes words short enough to be remembered where a
 * tokenizer cuts no text (Llama 2, Gemma).
 */
export function joinTest(model: BpeModel, byteLevel: boolean): (left: number, right: number) => boolean {
  const { vocab, merges, unkToken, byteFallback } = model;
  const stands = (token: string) => token === unkToken || (byteFallback && BYTE_TOKEN.test(token));
  const joined = new Uint32Array(1 << (BITS - 5));
  for (const [left, right] of merges) {
    if (stands(left) || stands(right)) return () => true;
    const bit = hash(lastPoint(left), right.codePointAt(0)!);
    joined[bit >>> 5]! |= 1 << (bit & 31);
  }
  const known = (point: number) => vocab.has(String.fromCodePoint(point));
  return (left, right) => {
    const before = byteLevel ? byteCharacter(left, -1) : left;
    const behind = byteLevel ? byteCharacter(right, 0) : right;
    const bit = hash(before, behind);
    if ((joined[bit >>> 5]! & (1 << (bit & 31))) !== 0) return true;
    return !known(before) || !known(behind); // unknown characters may become one unknown token together
  };
}

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
