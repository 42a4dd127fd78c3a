import { UserError } from "../tensor/index.js";
import { BYTE_TOKEN } from "./bytes.js";
import { type Decoding, fallbackText, openDecoding, tokenBytes } from "./decoding.js";
import type { Encoding } from "./encoding.js";
import { type Engine, openEngine, type Tokens } from "./engine.js";
import { namedTokens, type TokenizerFiles, tokenContent } from "./files.js";
import { type Frame, openPostProcessor } from "./post-processor.js";
import { drained } from "./steps.js";

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
  encode(text: string, options?: EncodeOptions): number[];
  /** As `encode`; a long text takes many steps, between which the caller may let others run, and learns how many ids there are. */
  idsInSteps(text: string, options?: EncodeOptions): Generator<number, number[]>;
  /**
   * The same ids, with the characters of `text` each covers: of what the tokenizer changed, all that it stands for; of what it
   * put there itself, none.
   */
  encodeWithOffsets(text: string, options?: EncodeOptions): Encoding;
  /** As `encodeWithOffsets`; a long text takes many steps, between which the caller may let others run. */
  encodeInSteps(text: string, options?: EncodeOptions): Generator<void, Encoding>;
  /** Text of ids, as the `tokenizers` library has it: bytes that are not UTF-8 become U+FFFD. `skipSpecialTokens` defaults to true. */
  decode(ids: Iterable<number>, options?: { skipSpecialTokens?: boolean }): string;
  /**
   * Decodes ids one at a time; the pieces joined are what `decode` gives, and no piece holds half a character. `continues`
   * (default false): they go on within a text, so a space that they begin with is kept.
   */
  decoder(options?: DecodeOptions): StreamingDecoder;
  /** The token as its vocabulary writes it, or undefined for an id without a token. */
  token(id: number): string | undefined;
  /** The bytes a token stands for (an added token: its own text); none for an id without a token. Do not change them. */
  bytes(id: number): Uint8Array;
  id(token: string): number | undefined;
}

export interface EncodeOptions {
  readonly addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  readonly skipSpecialTokens?: boolean;
  /** Special tokens that are written all the same. Default: none. */
  readonly keeps?: ReadonlySet<number>;
  readonly continues?: boolean;
}

export interface StreamingDecoder {
  /** Text that is complete now; "" while a character is unfinished. */
  push(id: number): string;
  /** What is left at the end, broken bytes as U+FFFD. */
  end(): string;
}

/**
 * Opens a checkpoint's tokenizer: byte-level BPE (GPT-2, Llama 3, Qwen) or SentencePiece-like BPE (Llama 2, Gemma). Throws
 * UserError for files that are damaged, and for what is not supported, by its name.
 */
export function createTokenizer(files: TokenizerFiles): Tokenizer {
  const json = files.tokenizerJson as Readonly<Record<string, unknown>>;
  const config = namedTokens(files);
  const engine = openEngine(files);
  const decoding = openDecoding(json.decoder);
  const named = (key: string) => {
    const text = tokenContent(config[key]);
    return { text, id: text === undefined ? undefined : engine.id(text) };
  };
  const [bos, eos, pad, unk] = ["bos_token", "eos_token", "pad_token", "unk_token"].map(named);
  const around = openPostProcessor(json.post_processor, engine.id);
  const bytes = byteTable(engine, decoding);

  /** Yields how many ids there are so far. */
  function* tokensInSteps(text: string, { addSpecialTokens = true } = {}): Generator<number, Tokens> {
    refuseHalfSurrogates(text);
    const tokens: Tokens = { ids: [], starts: [], ends: [] };
    for (const _ of engine.encode(text, tokens)) yield tokens.ids.length;
    if (addSpecialTokens) putAround(tokens, around);
    return tokens;
  }
  function* idsInSteps(text: string, options?: EncodeOptions): Generator<number, number[]> {
    return (yield* tokensInSteps(text, options)).ids;
  }
  function* encodeInSteps(text: string, options?: EncodeOptions): Generator<void, Encoding> {
    const steps = tokensInSteps(text, options);
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
      yield;
    }
  }

  const decoder = (options?: DecodeOptions) => streamingDecoder(engine, decoding, bytes, options);
  return {
    vocabSize: engine.size,
    bosToken: bos!.text,
    eosToken: eos!.text,
    bosId: bos!.id,
    eosId: eos!.id,
    padId: pad!.id,
    unkId: unk!.id ?? (engine.unkToken === undefined ? undefined : engine.id(engine.unkToken)),
    addsBos: bos!.id !== undefined && around.before.includes(bos!.id),
    addedIds: new Set(engine.added.keys()),
    specialIds: new Set([...engine.added.values()].filter((t) => t.special).map((t) => t.id)),
    encode: (text, options) => drained(idsInSteps(text, options)),
    idsInSteps,
    encodeWithOffsets: (text, options) => drained(encodeInSteps(text, options)),
    encodeInSteps,
    decode(ids, options) {
      const stream = decoder(options);
      let text = "";
      for (const id of ids) text += stream.push(id);
      return text + stream.end();
    },
    decoder,
    token: engine.token,
    bytes: (id) => bytes(id, false),
    id: engine.id,
  };
}

/** Puts ids around a text, none of which covers anything; what is there already is not doubled. */
function putAround({ ids, starts, ends }: Tokens, around: Frame): void {
  const before = ids[0] === around.before.at(-1) ? [] : around.before;
  const after = ids.at(-1) === around.after[0] ? [] : around.after;
  ids.unshift(...before);
  ids.push(...after);
  for (const list of [starts, ends]) {
    list.unshift(...before.map(() => -1));
    list.push(...after.map(() => -1));
  }
}

type Bytes = (id: number, first: boolean) => Uint8Array;

function byteTable(engine: Engine, decoding: Decoding): Bytes {
  const [known, asFirst] = [new Map<number, Uint8Array>(), new Map<number, Uint8Array>()];
  return (id, first) => {
    const table = first && decoding.firstLosesMarks ? asFirst : known;
    let bytes = table.get(id);
    if (!bytes) {
      const added = engine.added.get(id);
      const text = added ? engine.spelled(added) : (engine.token(id) ?? "");
      table.set(id, (bytes = tokenBytes(text, decoding, text === added?.content, first)));
    }
    return bytes;
  };
}

function streamingDecoder(
  engine: Engine,
  decoding: Decoding,
  bytes: Bytes,
  { skipSpecialTokens = true, keeps, continues = false }: DecodeOptions = {},
): StreamingDecoder {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  let first = !continues;
  let strips = continues ? 0 : decoding.strips;
  const tidy = (text: string) => {
    let from = 0;
    while (from < strips && text[from] === " ") from++;
    strips = from < text.length ? 0 : strips - from;
    return text.slice(from);
  };
  let run: number[] = [];
  const endRun = () => {
    const text = fallbackText(run);
    run = [];
    return text;
  };
  return {
    push(id) {
      if (skipSpecialTokens && engine.added.get(id)?.special && !keeps?.has(id)) return "";
      const made = bytes(id, first);
      first = false;
      if (decoding.byteFallback && BYTE_TOKEN.test(engine.token(id) ?? "")) {
        run.push(...made);
        return "";
      }
      return tidy(endRun() + utf8.decode(made, { stream: true }));
    },
    end: () => tidy(endRun() + utf8.decode()),
  };
}

const halfSurrogate = /\p{Surrogate}/u;

function refuseHalfSurrogates(text: string): void {
  const at = text.search(halfSurrogate);
  if (at < 0) return;
  throw new UserError(`tokenizer: the text holds half a surrogate pair at character ${at}, which no UTF-8 can express`);
}
