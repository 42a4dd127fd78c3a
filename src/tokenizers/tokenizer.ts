import { UserError } from "../tensor/index.js";
import { type Encoding, locateTokens } from "./align.js";
import { BYTE_TOKEN, type ByteStyle, byteStyle, fallbackText, tokenBytes } from "./bytes.js";
import { type Engine, openEngine } from "./engine.js";
import { type TokenizerFiles, tokenContent } from "./files.js";
import { createSlicer, withoutInvented } from "./slices.js";

/** Text <-> token ids of one checkpoint. Everything is immutable; one instance serves training, chat and serving. */
export interface Tokenizer {
  /** Largest token id + 1, added tokens included. A model may have more rows than this, never fewer. */
  readonly vocabSize: number;
  readonly bosToken?: string;
  readonly eosToken?: string;
  readonly bosId?: number;
  readonly eosId?: number;
  readonly padId?: number;
  readonly unkId?: number;
  /** Does `encode` put a BOS in front by itself? */
  readonly addsBos: boolean;
  /** Ids that stand outside the byte-pair vocabulary (control tokens, tool markers, ...). */
  readonly addedIds: ReadonlySet<number>;
  /** The added ids marked special: what `skipSpecialTokens` leaves out. */
  readonly specialIds: ReadonlySet<number>;
  /**
   * Token ids of `text`. Special tokens written in the text become their ids. `addSpecialTokens` (default true) adds
   * what the tokenizer adds to plain text, usually a BOS, which is never doubled. Throws UserError for half surrogates.
   */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  /** As `encode`; a long text takes many steps, between which the caller may let others run, and learns how many ids there are. */
  idsInSteps(text: string, options?: { addSpecialTokens?: boolean }): Generator<number, number[]>;
  /** The same ids, with the characters of `text` each covers. Throws UserError when the tokens do not spell the text. */
  encodeWithOffsets(text: string, options?: { addSpecialTokens?: boolean }): Encoding;
  /** As `encodeWithOffsets`; a long text takes many steps, between which the caller may let others run. */
  encodeInSteps(text: string, options?: { addSpecialTokens?: boolean }): Generator<void, Encoding>;
  /** Text of ids, as the `tokenizers` library has it: bytes that are not UTF-8 become U+FFFD. `skipSpecialTokens` defaults to true. */
  decode(ids: Iterable<number>, options?: { skipSpecialTokens?: boolean }): string;
  /**
   * Decodes ids one at a time; the pieces joined are what `decode` gives, and no piece holds half a character. `continues`
   * (default false): they go on within a text, so a space that they begin with is kept.
   */
  decoder(options?: { skipSpecialTokens?: boolean; continues?: boolean }): StreamingDecoder;
  /** The token as its vocabulary writes it, or undefined for an id without a token. */
  token(id: number): string | undefined;
  /** The bytes a token stands for (an added token: its own text); none for an id without a token. Do not change them. */
  bytes(id: number): Uint8Array;
  id(token: string): number | undefined;
}

export interface StreamingDecoder {
  /** Text that is complete now; "" while a character is unfinished. */
  push(id: number): string;
  /** What is left at the end, broken bytes as U+FFFD. */
  end(): string;
}

/** Opens a checkpoint's tokenizer: byte-level BPE (GPT-2, Llama 3, SmolLM2) or SentencePiece-like (Llama 2). */
export function createTokenizer(files: TokenizerFiles): Tokenizer {
  const config = files.tokenizerConfig;
  const engine = openEngine(files);
  const style = byteStyle(files.tokenizerJson);
  const added = engine.get_added_tokens_decoder();
  const addedIds = new Set(added.keys());
  const specialIds = new Set([...added.values()].filter((t) => t.special).map((t) => t.id));
  const named = (key: string) => {
    const text = tokenContent(config[key]);
    return { text, id: text === undefined ? undefined : engine.token_to_id(text) };
  };
  const [bos, eos, pad, unk] = ["bos_token", "eos_token", "pad_token", "unk_token"].map(named);
  const around = addedAround(engine);
  const bytes = byteTable(engine, style, addedIds);

  const slicesOf = createSlicer(engine);
  const idsOfSlice = (slice: string, i: number): number[] =>
    engine.tokenize(i === 0 ? slice : withoutInvented(engine, slice), { add_special_tokens: false }).map(idOf);
  const idOf = (token: string): number => {
    const id = engine.token_to_id(token) ?? unk!.id ?? engine.model.unk_token_id;
    if (id === undefined) throw new UserError(`tokenizer: no token for ${JSON.stringify(token)} and no unknown token`);
    return id;
  };
  const frame = (ids: readonly number[], addSpecialTokens: boolean) => ({
    before: addSpecialTokens && ids[0] !== around.before.at(-1) ? around.before : [],
    after: addSpecialTokens && ids.at(-1) !== around.after[0] ? around.after : [],
  });

  function* idsInSteps(text: string, { addSpecialTokens = true } = {}): Generator<number, number[]> {
    refuseHalfSurrogates(text);
    const ids: number[] = [];
    for (const [i, slice] of slicesOf(text).entries()) {
      if (i > 0) yield ids.length;
      for (const id of idsOfSlice(slice, i)) ids.push(id);
    }
    const { before, after } = frame(ids, addSpecialTokens);
    return [...before, ...ids, ...after];
  }

  function* encodeInSteps(text: string, { addSpecialTokens = true } = {}): Generator<void, Encoding> {
    refuseHalfSurrogates(text);
    const [ids, starts, ends]: [number[], number[], number[]] = [[], [], []];
    let offset = 0;
    for (const [i, slice] of slicesOf(text).entries()) {
      if (i > 0) yield;
      const part = idsOfSlice(slice, i);
      const located = locateTokens(slice, part, bytes, (id) => added.get(id));
      for (let t = 0; t < part.length; t++) {
        ids.push(part[t]!);
        starts.push(located.starts[t]! + offset);
        ends.push(located.ends[t]! + offset);
      }
      offset += slice.length;
    }
    const { before, after } = frame(ids, addSpecialTokens);
    const outside = (list: readonly number[]) => list.map(() => -1);
    return {
      ids: [...before, ...ids, ...after],
      starts: [...outside(before), ...starts, ...outside(after)],
      ends: [...outside(before), ...ends, ...outside(after)],
    };
  }

  const decoder = ({ skipSpecialTokens = true, continues = false } = {}): StreamingDecoder => {
    const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
    let strip = style.stripsFirstSpace && !continues;
    const tidy = (text: string) => {
      if (!strip || text === "") return text;
      strip = false;
      return text.startsWith(" ") ? text.slice(1) : text;
    };
    let run: number[] = [];
    const endRun = () => {
      const text = fallbackText(run);
      run = [];
      return text;
    };
    return {
      push: (id) => {
        if (skipSpecialTokens && specialIds.has(id)) return "";
        if (style.byteFallback && !addedIds.has(id) && BYTE_TOKEN.test(engine.id_to_token(id) ?? "")) {
          run.push(...bytes(id));
          return "";
        }
        return tidy(endRun() + utf8.decode(bytes(id), { stream: true }));
      },
      end: () => tidy(endRun() + utf8.decode()),
    };
  };

  return {
    vocabSize: engine.model.vocab.length,
    bosToken: bos!.text,
    eosToken: eos!.text,
    bosId: bos!.id,
    eosId: eos!.id,
    padId: pad!.id,
    unkId: unk!.id ?? engine.model.unk_token_id,
    addsBos: bos!.id !== undefined && around.before.includes(bos!.id),
    addedIds,
    specialIds,
    encode: (text, options) => lastOf(idsInSteps(text, options)),
    idsInSteps,
    encodeWithOffsets: (text, options) => lastOf(encodeInSteps(text, options)),
    encodeInSteps,
    decode(ids, options) {
      const stream = decoder(options);
      let text = "";
      for (const id of ids) text += stream.push(id);
      return text + stream.end();
    },
    decoder,
    token: (id) => engine.id_to_token(id),
    bytes,
    id: (token) => engine.token_to_id(token),
  };
}

/** Takes all steps at once. */
function lastOf<T>(steps: Generator<unknown, T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/**
 * The ids that go around plain text: what the post-processor of tokenizer.json says. `add_bos_token` and `add_eos_token`
 * of the config do not count beside it, as in transformers 5.
 */
function addedAround(engine: Engine) {
  const probe = "\u0000text";
  const framed = engine.post_processor ? engine.post_processor([probe], null, true).tokens : [probe];
  const at = framed.indexOf(probe);
  const ids = (tokens: string[]) => tokens.map((t) => engine.token_to_id(t)).filter((id) => id !== undefined);
  return { before: ids(framed.slice(0, at)), after: ids(framed.slice(at + 1)) };
}

function byteTable(engine: Engine, style: ByteStyle, addedIds: ReadonlySet<number>): (id: number) => Uint8Array {
  const known = new Map<number, Uint8Array>();
  return (id) => {
    let bytes = known.get(id);
    if (!bytes) known.set(id, (bytes = tokenBytes(engine.id_to_token(id) ?? "", style, addedIds.has(id))));
    return bytes;
  };
}

const halfSurrogate = /\p{Surrogate}/u;

function refuseHalfSurrogates(text: string): void {
  const at = text.search(halfSurrogate);
  if (at < 0) return;
  throw new UserError(`tokenizer: the text holds half a surrogate pair at character ${at}, which no UTF-8 can express`);
}
