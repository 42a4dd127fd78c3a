import type { TokenizerFiles } from "./files.js";
import type { Tokenizer } from "./tokenizer.js";

interface Part {
  readonly type?: string;
  readonly normalizers?: readonly Part[];
  readonly pretokenizers?: readonly Part[];
  readonly pattern?: { readonly String?: string };
  readonly content?: string;
  readonly behavior?: string;
}

interface Json {
  readonly normalizer?: Part | null;
  readonly pre_tokenizer?: Part | null;
  readonly model?: { readonly byte_fallback?: boolean };
  readonly added_tokens?: readonly { readonly lstrip?: boolean; readonly rstrip?: boolean }[];
}

/**
 * How many tokens a text takes at the least, told from its length alone: every token covers a number of bytes, and none more
 * than the longest. 0 where a tokenizer may drop or shorten what it is given, so that nothing is known before it has run.
 */
export function fewestTokens({ tokenizerJson }: TokenizerFiles, tokenizer: Tokenizer): (text: string) => number {
  const json = tokenizerJson as Json;
  if (!coversEveryByte(json)) return () => 0;
  const swallowsSpaces = json.added_tokens?.some(({ lstrip, rstrip }) => lstrip || rstrip) ?? false;
  let longest: number | undefined;
  return (text) => {
    longest ??= longestToken(tokenizer);
    return Math.ceil(bytesOf(swallowsSpaces ? text.replace(/\s+/g, "") : text) / longest);
  };
}

/** Whether all that a text holds ends up in some token: neither normalised away nor joined into one unknown token. */
function coversEveryByte({ normalizer, pre_tokenizer, model }: Json): boolean {
  const splits = pre_tokenizer ? (pre_tokenizer.pretokenizers ?? [pre_tokenizer]) : [];
  const bytes = model?.byte_fallback === true || splits.some(({ type }) => type === "ByteLevel");
  return bytes && splits.every(dropsNothing) && (normalizer?.normalizers ?? [normalizer]).every(keepsLength);
}

const dropsNothing = ({ type, behavior }: Part): boolean =>
  ["ByteLevel", "Metaspace", "Digits"].includes(type ?? "") || (type === "Split" && behavior !== "Removed");

/** Normalisers that never make a text shorter: SentencePiece's, which write a space as U+2581 and put one in front. */
function keepsLength(part: Part | null | undefined): boolean {
  if (part === null || part === undefined || part.type === "Prepend") return true;
  return part.type === "Replace" && part.pattern?.String === " " && part.content === "\u2581";
}

function longestToken(tokenizer: Tokenizer): number {
  let longest = 1;
  for (let id = 0; id < tokenizer.vocabSize; id++) longest = Math.max(longest, tokenizer.bytes(id).length);
  return longest;
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
