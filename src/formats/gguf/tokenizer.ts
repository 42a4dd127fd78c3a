import { UserError } from "../../tensor/index.js";
import {
  type ChatTemplates,
  hasTemplates,
  type TokenizerFiles,
  templatesForConfig,
  templatesOf,
} from "../../tokenizers/files.js";
import { takesSpaceAfter } from "../token-stripping.js";
import { mergesFromScores } from "./piece-merges.js";
import { BYTE_LEVEL, preTokenizer } from "./pre-tokenizers.js";
import type { GgufValue } from "./reader.js";

/** llama.cpp's token types (`llama_token_type`). */
export const TOKEN_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const SPACE = "\u2581";

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
  const flag = (name: string, otherwise: boolean) => flagOf(metadata, `tokenizer.ggml.${name}`, where, otherwise);
  const addBos = flag("add_bos_token", parts.addBos);
  const addEos = flag("add_eos_token", false);
  const { addBos: _default, ...pieces } = parts;
  const templates = chatTemplates(metadata);
  return {
    tokenizerJson: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: addedTokens(fields),
      ...pieces,
      post_processor: postProcessor(fields, addBos ? bos : undefined, addEos ? eos : undefined, model === "gpt2"),
    },
    tokenizerConfig: { ...tokenizerConfig(fields, metadata, addBos, addEos), ...inConfig(templates) },
    ...templates,
  };
}

/** The chat templates of a GGUF: `tokenizer.chat_template`, and `tokenizer.chat_template.NAME` of those that have names. */
function chatTemplates(metadata: ReadonlyMap<string, GgufValue>): ChatTemplates {
  const key = "tokenizer.chat_template";
  const byName = new Map<string, string>();
  for (const [name, value] of metadata) {
    if (typeof value !== "string") continue;
    if (name === key) byName.set("default", value);
    else if (name.startsWith(`${key}.`)) byName.set(name.slice(key.length + 1), value);
  }
  return templatesOf(byName);
}

function inConfig(templates: ChatTemplates): { readonly chat_template?: unknown } {
  return hasTemplates(templates) ? { chat_template: templatesForConfig(templates) } : {};
}

interface Fields {
  readonly where: string;
  readonly tokens: readonly string[];
  readonly types: readonly number[];
  readonly scores: readonly number[];
  readonly merges: readonly string[];
  readonly pre: string;
  /** `general.name`, which decides how added tokens treat the white space behind them. */
  readonly name: string;
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
    name: String(metadata.get("general.name") ?? ""),
    pre: String(metadata.get("tokenizer.ggml.pre") ?? "default"),
    addSpacePrefix: flagOf(metadata, "tokenizer.ggml.add_space_prefix", where, true),
    bos: id("bos"),
    eos: id("eos"),
    unknown: id("unknown"),
    padding: hasPadding(metadata) ? id("padding") : undefined,
  };
}

function flagOf(metadata: ReadonlyMap<string, GgufValue>, key: string, where: string, otherwise: boolean): boolean {
  const value = metadata.get(key) ?? otherwise;
  if (typeof value === "boolean") return value;
  throw new UserError(`${where}: ${key} must be true or false, got ${typeof value === "object" ? "a list" : value}`);
}

/** Whether the padding token that a file names is one of its tokens: converters write -1 for none, and llama.cpp passes over it. */
export function hasPadding(metadata: ReadonlyMap<string, GgufValue>): boolean {
  const [id, tokens] = [metadata.get("tokenizer.ggml.padding_token_id"), metadata.get("tokenizer.ggml.tokens")];
  return typeof id === "number" && Array.isArray(tokens) && id >= 0 && id < tokens.length;
}

interface Pieces {
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly decoder: object;
  readonly model: object;
  readonly addBos: boolean;
}

function byteLevel(fields: Fields): Pieces {
  const pre = preTokenizer(fields.pre, fields.where);
  return {
    normalizer: pre.normalizer ?? null,
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
      merges: mergesOf(fields),
    },
    addBos: pre.addBos,
  };
}

/** Throws UserError where there are none, though the tokens are not single bytes: every text would come out in bytes. */
function mergesOf({ tokens, types, merges, where }: Fields): [string, string][] {
  const long = tokens.some((token, id) => (types[id] ?? TOKEN_TYPES.normal) === TOKEN_TYPES.normal && token.length > 1);
  if (merges.length === 0 && long)
    throw new UserError(`${where}: a "gpt2" tokenizer needs tokenizer.ggml.merges; convert the model again`);
  return merges.map((merge) => splitMerge(merge, where));
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
      merges: mergesFromScores(fields.tokens, scoresOf(fields)),
    },
    addBos: true,
  };
}

function scoresOf({ scores, where }: Fields): readonly number[] {
  if (scores.length > 0) return scores;
  throw new UserError(`${where}: a "llama" tokenizer needs tokenizer.ggml.scores`);
}

function vocabulary(tokens: readonly string[]): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null);
  tokens.forEach((token, id) => {
    vocab[token] = id;
  });
  return vocab;
}

function addedTokens({ tokens, types, bos, eos, unknown, name }: Fields): object[] {
  const always = new Set([bos, eos, unknown]);
  const ids = new Map(tokens.map((token, id) => [token, id])); // of a token that is listed twice the last counts
  return tokens.flatMap((content, id) => {
    if (ids.get(content) !== id) return [];
    const special = types[id] === TOKEN_TYPES.control || always.has(id);
    if (!special && types[id] !== TOKEN_TYPES.userDefined) return [];
    const rstrip = takesSpaceAfter(name, content);
    return [{ id, content, single_word: false, lstrip: false, rstrip, normalized: false, special }];
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
  };
}
