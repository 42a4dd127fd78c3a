import { type AddedSearch, addedSearch } from "./added-search.js";
import { type AddedToken, readAddedTokens } from "./added-tokens.js";
import { type Bpe, createBpe } from "./bpe.js";
import type { Encoding } from "./encoding.js";
import { namedTokens, type TokenizerFiles } from "./files.js";
import { type Normalizer, openNormalizer } from "./normalizers.js";
import { endAt, type Piece, slicePiece, startAt } from "./piece.js";
import { openPreTokenizer, type PreTokenizer } from "./pre-tokenizers.js";
import { drained } from "./steps.js";

/** An encoding that may still be added to. */
export interface Tokens extends Encoding {
  readonly ids: number[];
  readonly starts: number[];
  readonly ends: number[];
}

/** What makes tokens of text, as the `tokenizers` library does from the same files. */
export interface Engine {
  /** Every added token by its id. */
  readonly added: ReadonlyMap<number, AddedToken>;
  /** An added token as it stands in decoded text: normalised where it is looked for so. */
  spelled(token: AddedToken): string;
  readonly unkToken: string | undefined;
  /** Largest id + 1, added tokens included. */
  readonly size: number;
  id(token: string): number | undefined;
  token(id: number): string | undefined;
  /** Puts the tokens of a text behind those that are there, nothing added. Yields every few milliseconds. */
  encode(text: string, tokens: Tokens): Generator<void, void>;
}

/** Characters between two yields. */
const STRIDE = 8192;

/** Opens a tokenizer.json. Throws UserError for one that is damaged, or holds what is not supported. */
export function openEngine(files: TokenizerFiles): Engine {
  const json = files.tokenizerJson as Readonly<Record<string, unknown>>;
  const normalizer = openNormalizer(json.normalizer);
  const { cut, byteLevel } = openPreTokenizer(json.pre_tokenizer);
  const bpe = createBpe(json.model, byteLevel);
  const tokens = readAddedTokens(json.added_tokens, namedTokens(files), bpe.vocab);
  const normalized = (text: string) => (normalizer ? drained(normalizer(pieceOf(text))).text : text);
  const spellings = new Map(
    tokens.map((token) => [token, token.normalized ? normalized(token.content) : token.content]),
  );
  const spelled = (token: AddedToken) => spellings.get(token)!;
  const findRaw = addedSearch(
    tokens.filter((token) => !token.normalized),
    spelled,
  );
  const findNormalized = addedSearch(
    tokens.filter((token) => token.normalized),
    spelled,
  );

  const added = new Map(tokens.map((token) => [token.id, token]));
  const byContent = new Map(tokens.map((token) => [token.content, token.id]));
  const texts: (string | undefined)[] = [];
  for (const [token, id] of bpe.vocab) texts[id] = token;
  for (const { id, content } of tokens) texts[id] = content;
  return {
    added,
    spelled,
    unkToken: bpe.unkToken,
    size: texts.length,
    id: (token) => byContent.get(token) ?? bpe.vocab.get(token),
    token: (id) => texts[id],
    encode: encoder(bpe, cut, normalizer, findRaw, findNormalized),
  };
}

/** Puts together what makes tokens: added tokens, normaliser, added tokens of the normalised text, cutting, merges. */
function encoder(
  bpe: Bpe,
  cut: PreTokenizer,
  normalizer: Normalizer | undefined,
  findRaw: AddedSearch,
  findNormalized: AddedSearch,
): Engine["encode"] {
  function* putWords(piece: Piece, put: Put, since: { characters: number }): Generator<void, void> {
    for (const word of cut(piece)) {
      yield* bpe.words(word.text, ({ ids, from, to }, at) => {
        for (let i = 0; i < ids.length; i++) {
          put(ids[i]!, startAt(word, at + from[i]!), endAt(word, at + to[i]!));
        }
      });
      since.characters += word.text.length;
      if (since.characters < STRIDE) continue;
      since.characters = 0;
      yield;
    }
  }
  return function* (text, { ids, starts, ends }) {
    const put: Put = (id, start, end) => {
      ids.push(id);
      starts.push(start);
      ends.push(Math.max(start, end));
    };
    const sinceYield = { characters: 0 };
    for (const raw of findRaw(text)) {
      if (!raw) yield;
      else if (raw.token) put(raw.token.id, raw.from, raw.to);
      else {
        const plain = { text: text.slice(raw.from, raw.to), base: raw.from, origin: raw.from };
        const piece = normalizer ? yield* normalizer(plain) : plain;
        for (const part of findNormalized(piece.text)) {
          if (!part) yield;
          else if (part.token) put(part.token.id, startAt(piece, part.from), endAt(piece, part.to));
          else yield* putWords(slicePiece(piece, part.from, part.to), put, sinceYield);
        }
      }
    }
  };
}

type Put = (id: number, start: number, end: number) => void;

function pieceOf(text: string): Piece {
  return { text, base: 0, origin: 0 };
}
