import { UserError } from "../tensor/index.js";
import type { TokenizerFiles } from "../tokenizers/files.js";
import type { GgufValue } from "./gguf.js";

/** llama.cpp's token types (`llama_token_type`). */
export const TOKEN_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const SPACE = "\u2581";

const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

/** The split of Llama 3's tokenizer.json. */
const LLAMA3_SPLIT =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

export interface PreTokenizer {
  readonly steps: readonly object[];
  /** What llama.cpp assumes where the file does not say. */
  readonly addBos: boolean;
  /** A word that is a token is taken whole, without merges. */
  readonly ignoreMerges: boolean;
}

const LLAMA3: PreTokenizer = {
  steps: [
    { type: "Split", pattern: { Regex: LLAMA3_SPLIT }, behavior: "Isolated", invert: false },
    { ...BYTE_LEVEL, use_regex: false },
  ],
  addBos: true,
  ignoreMerges: true,
};
const GPT2: PreTokenizer = { steps: [BYTE_LEVEL], addBos: false, ignoreMerges: false };

/** `tokenizer.ggml.pre` -> how text is split before merging. */
export const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  default: GPT2,
  "gpt-2": GPT2,
  smollm: { ...GPT2, steps: [{ type: "Digits", individual_digits: true }, BYTE_LEVEL] },
  "llama-bpe": LLAMA3,
  llama3: LLAMA3,
  "llama-v3": LLAMA3,
};

/**
 * Builds `tokenizer.json` and `tokenizer_config.json` out of a GGUF's metadata: byte-level BPE ("gpt2") and SentencePiece
 * BPE ("llama"). Throws UserError for other kinds, naming them.
 */
export function tokenizerFromGguf(metadata: ReadonlyMap<string, GgufValue>, where: string): TokenizerFiles {
  const fields = readFields(metadata, where);
  const model = metadata.get("tokenizer.ggml.model");
  if (model !== "gpt2" && model !== "llama") {
    throw new UserError(
      `${where}: its tokenizer is ${JSON.stringify(String(model ?? "missing"))}; "gpt2" and "llama" are supported`,
    );
  }
  const parts = model === "gpt2" ? byteLevel(fields) : sentencePiece(fields);
  const { bos, eos } = fields;
  const flag = (name: string, otherwise: boolean) => (metadata.get(`tokenizer.ggml.${name}`) ?? otherwise) === true;
  const addBos = flag("add_bos_token", parts.addBos);
  const addEos = flag("add_eos_token", false);
  const template = metadata.get("tokenizer.chat_template");
  const chatTemplate = typeof template === "string" ? { chatTemplate: template } : {};
  const { addBos: _default, ...pieces } = parts;
  return {
    tokenizerJson: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens(fields),
      ...pieces,
      post_processor: postProcessor(fields, addBos ? bos : undefined, addEos ? eos : undefined, model === "gpt2"),
    },
    tokenizerConfig: tokenizerConfig(fields, metadata, addBos, addEos),
    ...chatTemplate,
  };
}

interface Fields {
  readonly where: string;
  readonly tokens: readonly string[];
  readonly types: readonly number[];
  readonly scores: readonly number[];
  readonly merges: readonly string[];
  readonly pre: string;
  readonly addSpacePrefix: boolean;
  readonly bos?: number;
  readonly eos?: number;
  readonly unknown?: number;
  readonly padding?: number;
}

function readFields(metadata: ReadonlyMap<string, GgufValue>, where: string): Fields {
  const list = <T extends string | number>(name: string, kind: "string" | "number", length?: number): T[] => {
    const value = metadata.get(`tokenizer.ggml.${name}`) ?? [];
    const sound = Array.isArray(value) && value.every((item) => typeof item === kind);
    if (!sound) throw new UserError(`${where}: tokenizer.ggml.${name} must be a list of ${kind}s`);
    if (length !== undefined && value.length !== 0 && value.length !== length) {
      throw new UserError(`${where}: tokenizer.ggml.${name} has ${value.length} entries for ${length} tokens`);
    }
    return value as T[];
  };
  const tokens = list<string>("tokens", "string");
  if (tokens.length === 0) throw new UserError(`${where}: it has no tokenizer (tokenizer.ggml.tokens is missing)`);
  const id = (name: string): number | undefined => {
    const value = metadata.get(`tokenizer.ggml.${name}_token_id`);
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < tokens.length) return value;
    throw new UserError(`${where}: tokenizer.ggml.${name}_token_id is ${value}, there are ${tokens.length} tokens`);
  };
  return {
    where,
    tokens,
    types: list<number>("token_type", "number", tokens.length),
    scores: list<number>("scores", "number", tokens.length),
    merges: list<string>("merges", "string"),
    pre: String(metadata.get("tokenizer.ggml.pre") ?? "default"),
    addSpacePrefix: metadata.get("tokenizer.ggml.add_space_prefix") !== false,
    bos: id("bos"),
    eos: id("eos"),
    unknown: id("unknown"),
    padding: id("padding"),
  };
}

interface Pieces {
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly decoder: object;
  readonly model: object;
  readonly addBos: boolean;
}

function byteLevel(fields: Fields): Pieces {
  const pre = Object.hasOwn(PRE_TOKENIZERS, fields.pre) ? PRE_TOKENIZERS[fields.pre] : undefined;
  if (!pre) {
    const known = Object.keys(PRE_TOKENIZERS).join(", ");
    throw new UserError(
      `${fields.where}: tokenizer.ggml.pre ${JSON.stringify(fields.pre)} is not supported (supported: ${known})`,
    );
  }
  return {
    normalizer: null,
    pre_tokenizer: pre.steps.length === 1 ? pre.steps[0]! : { type: "Sequence", pretokenizers: pre.steps },
    decoder: BYTE_LEVEL,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges,
      vocab: vocabulary(fields.tokens),
      merges: fields.merges.map((merge) => splitMerge(merge, fields.where)),
    },
    addBos: pre.addBos,
  };
}

/** A merge is two tokens with one space between, which may be the first character of neither. */
function splitMerge(merge: string, where: string): [string, string] {
  const space = merge.indexOf(" ", 1);
  if (space < 1 || space === merge.length - 1)
    throw new UserError(`${where}: the merge ${JSON.stringify(merge)} is not two tokens`);
  return [merge.slice(0, space), merge.slice(space + 1)];
}

function sentencePiece(fields: Fields): Pieces {
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  const prefixed = fields.addSpacePrefix;
  const decoders: object[] = [
    { type: "Replace", pattern: { String: SPACE }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
  ];
  if (prefixed) decoders.push({ type: "Strip", content: " ", start: 1, stop: 0 });
  return {
    normalizer: prefixed ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SPACE }, replace] } : replace,
    pre_tokenizer: null,
    decoder: { type: "Sequence", decoders },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: fields.tokens[fields.unknown ?? 0],
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: vocabulary(fields.tokens),
      merges: mergesFromScores(fields),
    },
    addBos: true,
  };
}

function vocabulary(tokens: readonly string[]): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null);
  tokens.forEach((token, id) => {
    vocab[token] = id;
  });
  return vocab;
}

/**
 * SentencePiece keeps scores, not merges: every split of a piece into two pieces is a merge, ranked by the score of what
 * it makes (transformers, `generate_merges` in convert_slow_tokenizer.py; its sort is kept exactly, ties included).
 */
function mergesFromScores({ tokens, scores, where }: Fields): [string, string][] {
  if (scores.length === 0) throw new UserError(`${where}: a "llama" tokenizer needs tokenizer.ggml.scores`);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: { pair: [string, string]; score: number; left: number; right: number }[] = [];
  tokens.forEach((token, id) => {
    const points = Array.from(token);
    const splits: [string, string][] = [];
    for (let i = 1; i < points.length && points.length <= 512; i++) {
      const pair: [string, string] = [points.slice(0, i).join(""), points.slice(i).join("")];
      if (ids.has(pair[0]) && ids.has(pair[1])) splits.push(pair);
    }
    splits.sort((a, b) => ids.get(a[0])! - ids.get(b[0])! || ids.get(a[1])! - ids.get(b[1])!);
    for (const pair of splits) {
      merges.push({ pair, score: scores[id]!, left: Array.from(pair[0]).length, right: Array.from(pair[1]).length });
    }
  });
  merges.sort((a, b) => b.score - a.score || b.left - a.left || b.right - a.right);
  return merges.map(({ pair }) => pair);
}

function addedTokens({ tokens, types, bos, eos, unknown }: Fields): object[] {
  const always = new Set([bos, eos, unknown]);
  const ids = new Map(tokens.map((token, id) => [token, id])); // of a token that is listed twice the last counts
  return tokens.flatMap((content, id) => {
    if (ids.get(content) !== id) return [];
    const special = types[id] === TOKEN_TYPES.control || always.has(id);
    if (!special && types[id] !== TOKEN_TYPES.userDefined) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

function postProcessor(
  fields: Fields,
  bos: number | undefined,
  eos: number | undefined,
  byteLevel: boolean,
): object | null {
  if (bos === undefined && eos === undefined) return null;
  const special = (id: number | undefined, type: number) =>
    id === undefined ? [] : [{ SpecialToken: { id: fields.tokens[id], type_id: type } }];
  const text = (name: string, type: number) => ({ Sequence: { id: name, type_id: type } });
  const known = [bos, eos].filter((id) => id !== undefined);
  const template = {
    type: "TemplateProcessing",
    single: [...special(bos, 0), text("A", 0), ...special(eos, 0)],
    pair: [...special(bos, 0), text("A", 0), ...special(eos, 0), ...special(bos, 1), text("B", 1), ...special(eos, 1)],
    special_tokens: Object.fromEntries(
      known.map((id) => [fields.tokens[id], { id: fields.tokens[id], ids: [id], tokens: [fields.tokens[id]] }]),
    ),
  };
  return byteLevel ? { type: "Sequence", processors: [{ ...BYTE_LEVEL, trim_offsets: false }, template] } : template;
}

function tokenizerConfig(
  fields: Fields,
  metadata: ReadonlyMap<string, GgufValue>,
  addBos: boolean,
  addEos: boolean,
): Record<string, unknown> {
  const token = (name: string, id: number | undefined) => (id === undefined ? {} : { [name]: fields.tokens[id] });
  const template = metadata.get("tokenizer.chat_template");
  const length = metadata.get("llama.context_length");
  return {
    add_bos_token: addBos,
    add_eos_token: addEos,
    ...token("bos_token", fields.bos),
    ...token("eos_token", fields.eos),
    ...token("unk_token", fields.unknown),
    ...token("pad_token", fields.padding),
    clean_up_tokenization_spaces: false,
    ...(typeof length === "number" ? { model_max_length: length } : {}),
    tokenizer_class: "PreTrainedTokenizerFast",
    ...(typeof template === "string" ? { chat_template: template } : {}),
  };
}
