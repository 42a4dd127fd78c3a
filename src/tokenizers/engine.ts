import * as library from "@huggingface/tokenizers";
import { UserError } from "../tensor/index.js";
import type { TokenizerFiles } from "./files.js";

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  /** Swallows the whitespace before it. */
  readonly lstrip: boolean;
  /** Swallows the whitespace after it. */
  readonly rstrip: boolean;
}

const { ByteLevelPreTokenizer, DigitsPreTokenizer } = library as unknown as Record<string, new () => Patterned>;

interface Patterned {
  pattern: RegExp;
  readonly config: { readonly individual_digits?: boolean };
}

type Split = (text: string | string[], options?: unknown) => string[];

/** What is used of the tokenizers library (whose own types do not resolve under Node's module rules). */
export interface Engine {
  tokenize(text: string, options: { add_special_tokens: boolean }): string[];
  token_to_id(token: string): number | undefined;
  id_to_token(id: number): string | undefined;
  get_added_tokens_decoder(): Map<number, AddedToken>;
  pre_tokenizer: Split | null;
  readonly post_processor: ((tokens: string[], pair: null, add: boolean) => { tokens: string[] }) | null;
  /** Its normaliser puts a space before every text, whatever it begins with. */
  prependsSpace: boolean;
  readonly model: { readonly vocab: readonly (string | undefined)[]; readonly unk_token_id?: number };
}

interface PreTokenizerJson {
  readonly type?: string;
  readonly split?: boolean;
}

interface NormalizerJson {
  readonly type?: string;
  readonly normalizers?: readonly NormalizerJson[];
}

interface TokenizerJson {
  readonly normalizer?: NormalizerJson | null;
  readonly model?: { readonly type?: string };
  readonly pre_tokenizer?: PreTokenizerJson | null;
}

/** Opens a tokenizer.json. Throws UserError for one that is damaged or not BPE. */
export function openEngine(files: TokenizerFiles): Engine {
  const json = files.tokenizerJson as TokenizerJson;
  if (json.model?.type !== undefined && json.model.type !== "BPE") {
    throw new UserError(
      `tokenizer.json: a model of type ${json.model.type} is not supported; the tokenizers of Llama models are of type BPE`,
    );
  }
  const absent = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };
  try {
    const engine = new library.Tokenizer({ ...absent, ...json }, files.tokenizerConfig) as unknown as Engine;
    engine.prependsSpace = prepends(json.normalizer);
    repairPreTokenizer(engine, json.pre_tokenizer);
    return engine;
  } catch (cause) {
    throw new UserError(`tokenizer.json: not a tokenizer that can be read (${(cause as Error).message})`, { cause });
  }
}

/**
 * Mends the library where it parts from the Rust one, and makes SentencePiece vocabularies fast:
 * - ByteLevel's own pattern means Unicode white space, where JavaScript's `\s` adds U+FEFF and lacks U+0085;
 * - Digits means every Unicode number (½, ٣), where `\d` means 0 to 9;
 * - a Metaspace that splits (its default) splits before every mark;
 * - a whole text as one word is slow and cannot be cached. Where no token has a mark after another character, no merge
 *   ever crosses from a character to a mark, so splitting there changes nothing.
 */
function repairPreTokenizer(engine: Engine, json: PreTokenizerJson | null | undefined): void {
  for (const part of partsOf(engine.pre_tokenizer)) {
    if (part instanceof ByteLevelPreTokenizer!) part.pattern = byteLevelPattern;
    if (part instanceof DigitsPreTokenizer!) {
      part.pattern = part.config.individual_digits ? /\P{N}+|\p{N}/gu : /\P{N}+|\p{N}+/gu;
    }
  }
  if (json && json.type !== "Metaspace") return;
  const everyMark = json?.type === "Metaspace" && json.split !== false;
  const crosses = engine.model.vocab.some((token) => token !== undefined && /[^\u2581]\u2581/.test(token));
  if (!everyMark && crosses) return;
  const boundary = everyMark ? /(?=\u2581)/ : /(?<=[^\u2581])(?=\u2581)/;
  const inner = engine.pre_tokenizer;
  engine.pre_tokenizer = (text, options) =>
    (inner ? inner(text, options) : [text].flat()).flatMap((word) => word.split(boundary));
}

function prepends(normalizer: NormalizerJson | null | undefined): boolean {
  return normalizer?.type === "Prepend" || (normalizer?.normalizers ?? []).some(prepends);
}

const byteLevelPattern =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

function partsOf(preTokenizer: Split | null): unknown[] {
  const inner = (preTokenizer as { tokenizers?: unknown } | null)?.tokenizers;
  return Array.isArray(inner) ? inner : [preTokenizer];
}
