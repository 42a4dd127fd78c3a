import { boundedRegex, type Find } from "../tensor/regex/index.js";
import { asTheReferenceKnows } from "./unicode.js";

/** Opens a text to look for a pattern in it. */
export type Pattern = (text: string) => Find;

const WORDS = "'s|'t|'re|'ve|'m|'ll|'d";
const CASED =
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+ENDING|" +
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*ENDING";
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const OTHERS = ` ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${SPACES}`;

/** How GPT-2 splits text; a ByteLevel step does so by itself. */
export const GPT2 = `${WORDS}| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`;

/**
 * Published patterns, each of which takes linear time in an engine that backtracks: GPT-2, Llama 3, Qwen, GPT-4o, Mistral
 * and DeepSeek. JavaScript's own engine runs them, the bounded one all others.
 */
const PUBLISHED: ReadonlySet<string> = new Set([
  GPT2,
  `(?i:${WORDS})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${OTHERS}`,
  `(?i:${WORDS})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${OTHERS}`,
  `(?i:${WORDS})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+|${OTHERS}`,
  `(?i:${WORDS})|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|${OTHERS}`,
  `${CASED.replaceAll("ENDING", `(?i:${WORDS})?`)}|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${SPACES}`,
  `${CASED.replaceAll("ENDING", "")}|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${SPACES}`,
  "\\p{N}{1,3}",
  "[一-龥\u3040-ゟ゠-ヿ]+",
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|" +
    ` ?[\\p{P}\\p{S}]+[\\r\\n]*|${SPACES}`,
]);

/**
 * A pattern of tokenizer.json, which means what Oniguruma makes of it. Work is bounded whatever the pattern is; throws
 * UserError for one that `boundedRegex` refuses, and when matching takes too long.
 */
export function splitPattern(source: string, where: string): Pattern {
  const bounded = boundedRegex(source, "oniguruma", where);
  const native = PUBLISHED.has(source) ? new RegExp(inJavaScript(source), "gu") : undefined;
  return (original) => {
    const text = asTheReferenceKnows(original);
    const slow = () => bounded.in(text);
    return native ? nativeFind(native, text, slow) : slow();
  };
}

/** A text that is looked for as it is. */
export function literalPattern(literal: string): Pattern {
  return (text) => (from) => {
    const at = literal === "" ? -1 : text.indexOf(literal, from);
    return at < 0 ? undefined : [at, at + literal.length];
  };
}

/** A pattern of our own, which takes linear time. */
export function nativePattern(regex: RegExp): Pattern {
  return (text) => (from) => {
    regex.lastIndex = from;
    const found = regex.exec(text);
    return found ? [found.index, found.index + found[0].length] : undefined;
  };
}

/** The native engine has no room to backtrack in over some million characters: such a word is left to the other one. */
function nativeFind(regex: RegExp, text: string, slow: () => Find): Find {
  const find = nativePattern(regex)(text);
  let other: Find | undefined;
  return (from) => {
    if (other) return other(from);
    try {
      return find(from);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      other = slow();
      return other(from);
    }
  };
}

/** `\s` is Unicode's white space, which JavaScript's is not; letters without case are written out. */
function inJavaScript(source: string): string {
  const spaces = source.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}");
  return spaces.replaceAll(/\(\?i:([^()]*)\)/g, (_, inner: string) => {
    const folded: Readonly<Record<string, string>> = { s: "\u017f", k: "\u212a" };
    return `(?:${inner.replaceAll(/[a-z]/g, (c) => `[${c}${c.toUpperCase()}${folded[c] ?? ""}]`)})`;
  });
}
