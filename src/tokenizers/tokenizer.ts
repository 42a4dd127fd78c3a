import { UserError } from "../tensor/index.js";
import { BYTE_TOKEN } from "./bytes.js";
import { type Decoding, fallbackText, openDecoding, tokenBytes } from "./decoding.js";
import type { Encoding } from "./encoding.js";
import { type Engine, openEngine, type Tokens } from "./engine.js";
import { type TokenizerFiles, tokenContent } from "./files.js";
import { openPostProcessor } from "./post-processor.js";
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
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
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
  decoder(options?: DecoderOptions): StreamingDecoder;
  /** The token as its vocabulary writes it, or undefined for an id without a token. */
  token(id: number): string | undefined;
  /** The bytes a token stands for (an added token: its own text); none for an id without a token. Do not change them. */
  bytes(id: number): Uint8Array;
  id(token: string): number | undefined;
}

export interface DecoderOptions {
  readonly skipSpecialTokens?: boolean;
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
  const engine = openEngine(files);
  const decoding = openDecoding(json.decoder);
  const named = (key: string) => {
    const text = tokenContent(files.tokenizerConfig[key]);
    return { text, id: text === undefined ? undefined : engine.id(text) };
  };
  const [bos, eos, pad, unk] = ["bos_token", "eos_token", "pad_token", "unk_token"].map(named);
  const around = openPostProcessor(json.post_processor, engine.id);
  const bytes = byteTable(engine, decoding);

  function* encodeInSteps(text: string, { addSpecialTokens = true } = {}): Generator<void, Tokens> {
    refuseHalfSurrogates(text);
    const { ids, starts, ends } = yield* engine.encode(text);
    if (!addSpecialTokens) return { ids, starts, ends };
    const before = ids[0] === around.before.at(-1) ? [] : around.before;
    const after = ids.at(-1) === around.after[0] ? [] : around.after;
    ids.unshift(...before);
    ids.push(...after);
    for (const list of [starts, ends]) {
      list.unshift(...before.map(() => -1));
      list.push(...after.map(() => -1));
    }
    return { ids, starts, ends };
  }

  const decoder = (options?: DecoderOptions) => streamingDecoder(engine, decoding, bytes, options);
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
    encode: (text, options) => drained(encodeInSteps(text, options)).ids,
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
  { skipSpecialTokens = true, continues = false }: DecoderOptions = {},
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
      if (skipSpecialTokens && engine.added.get(id)?.special) return "";
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
