import { UserError } from "../tensor/index.js";
import { type BpeModel, readModel } from "./bpe-json.js";
import { bytesAsCharacters, byteToken } from "./bytes.js";
import { joinTest } from "./joins.js";
import { mergeTable, type Symbols } from "./merges.js";
import { drained } from "./steps.js";

/** Tokens of a word, and the code units [from, to) of the word that each covers; one of part of a character all of it. */
export interface Word {
  readonly ids: readonly number[];
  readonly from: readonly number[];
  readonly to: readonly number[];
}

export interface Bpe {
  readonly vocab: ReadonlyMap<string, number>;
  readonly unkToken: string | undefined;
  /** Hands on the tokens of a word in parts, each with where in the word it begins. Yields while a long one is merged. */
  words(word: string, put: (part: Word, at: number) => void): Iterable<undefined>;
}

/** Words of up to so many code units are remembered. */
const SHORT = 48;
const REMEMBERED = 32_768;
/** Code units of a long word between two yields. */
const STRIDE = 8192;
const NOTHING: readonly undefined[] = [];
/**
 * Byte-pair encoding as the `tokenizers` library does it (its model of type BPE): the pair of the lowest rank is merged
 * first, of equal ones the leftmost, in a queue, so that a word of n characters takes n log n. `byteLevel` looks words up
 * byte by byte. Throws UserError for a damaged model and for settings that are not supported.
 */
export function createBpe(json: unknown, byteLevel: boolean): Bpe {
  const model = readModel(json);
  const table = mergeTable(model.vocab, model.merges);
  const symbolsOf = symbolizer(model, byteLevel);
  let joins: ReturnType<typeof joinTest> | undefined; // made when there is a long word

  /** A word that is a token, where such words are not put together by merges. */
  const whole = (word: string): Word | undefined => {
    if (!model.ignoreMerges || word.length > table.longest) return undefined;
    const id = model.vocab.get(byteLevel ? bytesAsCharacters(word) : word);
    return id === undefined ? undefined : { ids: [id], from: [0], to: [word.length] };
  };
  const merged = function* (word: string): Generator<undefined, Word> {
    const symbols = yield* symbolsOf(word);
    yield* table.merge(symbols);
    return symbols;
  };
  const part = remembering((word) => drained(merged(word)));
  const alone = model.ignoreMerges ? remembering((word) => whole(word) ?? part(word)) : part;
  const long = function* (word: string, put: (part: Word, at: number) => void): Generator<undefined, void> {
    const mayJoin = (joins ??= joinTest(model, byteLevel));
    let from = 0;
    let left = word.codePointAt(0)!;
    for (let at = width(left), seen = 1; at <= word.length; seen++) {
      const right = word.codePointAt(at) ?? -1;
      if (right < 0 || !mayJoin(left, right)) {
        const stretch = word.slice(from, at);
        if (at - from <= SHORT) put(part(stretch), from);
        else for (const some of inParts(yield* merged(stretch))) yield void put(some, from);
        from = at;
      }
      if (seen % STRIDE === 0) yield;
      left = right;
      at += width(right);
    }
  };
  return {
    vocab: model.vocab,
    unkToken: model.unkToken,
    words(word, put) {
      const one = word.length <= SHORT ? alone(word) : whole(word);
      if (!one) return long(word, put);
      put(one, 0);
      return NOTHING;
    },
  };
}

/** The tokens of a long word, some thousand at a time. */
function* inParts({ ids, from, to }: Word): Generator<Word, void> {
  for (let i = 0; i < ids.length; i += STRIDE) {
    yield { ids: ids.slice(i, i + STRIDE), from: from.slice(i, i + STRIDE), to: to.slice(i, i + STRIDE) };
  }
}

/** Turns a word into its first symbols: its characters, or its bytes as characters, or what stands for unknown ones. */
function symbolizer(model: BpeModel, byteLevel: boolean): (word: string) => Generator<undefined, Symbols> {
  const { vocab, unkToken, fuseUnk, byteFallback } = model;
  const bytesOf = remembering((character) => {
    const ids = Array.from(new TextEncoder().encode(character), (byte) => vocab.get(byteToken(byte)));
    return ids.includes(undefined) ? undefined : (ids as number[]);
  });
  const charactersOf = byteLevel ? remembering((c) => Array.from(bytesAsCharacters(c))) : (c: string) => [c];
  return function* (word) {
    const symbols: Symbols = { ids: [], from: [], to: [] };
    const put = (id: number, from: number, to: number) => {
      symbols.ids.push(id);
      symbols.from.push(from);
      symbols.to.push(to);
    };
    let unknown: [from: number, to: number] | undefined;
    const putUnknown = () => {
      if (unknown) put(unknownId(model), ...unknown);
      unknown = undefined;
    };
    let at = 0;
    for (const character of word) {
      const end = at + character.length;
      for (const symbol of charactersOf(character)) {
        const id = vocab.get(symbol);
        const bytes = id === undefined && byteFallback ? bytesOf(symbol) : undefined;
        if (id !== undefined) {
          putUnknown();
          put(id, at, end);
        } else if (bytes) {
          for (const byte of bytes) put(byte, at, end); // before an unknown one that waits, as in the library
        } else if (unkToken !== undefined) {
          if (!fuseUnk) putUnknown();
          unknown = [unknown ? unknown[0] : at, end];
        }
      }
      if (Math.floor(end / STRIDE) > Math.floor(at / STRIDE)) yield;
      at = end;
    }
    putUnknown();
    return symbols;
  };
}

function width(point: number): number {
  return point > 0xffff ? 2 : 1;
}

function unknownId({ vocab, unkToken }: BpeModel): number {
  const id = vocab.get(unkToken!);
  if (id !== undefined) return id;
  throw new UserError(
    `tokenizer.json: the text holds a character without a token, and unk_token ${JSON.stringify(unkToken)} is not in the vocabulary`,
  );
}

/** A function that remembers what it made last. */
function remembering<T>(make: (text: string) => T): (text: string) => T {
  const known = recent<T>(REMEMBERED);
  return (text) => {
    let made = known.get(text);
    if (made === undefined) known.set(text, (made = make(text)));
    return made;
  };
}

/** A map of the entries used last: at least `most`, at most twice as many. */
function recent<T>(most: number): { get(key: string): T | undefined; set(key: string, value: T): void } {
  let young = new Map<string, T>();
  let old = new Map<string, T>();
  const set = (key: string, value: T) => {
    if (young.size >= most) [old, young] = [young, new Map()];
    young.set(key, value);
  };
  return {
    get(key) {
      const found = young.get(key);
      if (found !== undefined) return found;
      const before = old.get(key);
      if (before !== undefined) set(key, before);
      return before;
    },
    set,
  };
}
