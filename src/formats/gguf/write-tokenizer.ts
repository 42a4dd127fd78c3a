import { UserError } from "../../tensor/index.js";
import { option } from "../../tensor/option.js";
import type { TokenizerFiles } from "../../tokenizers/files.js";
import { createTokenizer, type Tokenizer } from "../../tokenizers/tokenizer.js";
import type { StrippingToken } from "../token-stripping.js";
import { scoresOfMerges } from "./piece-scores.js";
import { preTokenizerName, type Step, stepsOf } from "./pre-tokenizers.js";
import type { GgufValue } from "./reader.js";
import { TOKEN_TYPES, tokenizerFromGguf } from "./tokenizer.js";
import type { GgufField } from "./writer.js";

interface AddedTokenJson extends StrippingToken {
  readonly id: number;
  readonly special?: boolean;
}

interface TokenizerJson {
  readonly added_tokens?: readonly AddedTokenJson[];
  readonly normalizer?: Step | null;
  readonly pre_tokenizer?: Step | null;
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
    readonly unk_token?: string | null;
    readonly byte_fallback?: boolean;
    readonly ignore_merges?: boolean;
  };
}

export interface GgufTokenizerOptions {
  /** Rows of the embedding: the list of tokens is filled up to it. */
  readonly vocabSize: number;
  /** Used when the tokenizer's own configuration names none. */
  readonly bosId?: number;
  /** Every token that ends a text or a turn; those beside the tokenizer's EOS are written as EOT and EOM. */
  readonly eosIds: readonly number[];
}

/**
 * A tokenizer and its chat template as GGUF metadata, the reverse of `tokenizerFromGguf`. Throws UserError, by name, when
 * llama.cpp has no equal of it: another way to split text, or merges that no SentencePiece scores give.
 */
export function ggufTokenizer(files: TokenizerFiles, options: GgufTokenizerOptions): Map<string, GgufField> {
  const json = files.tokenizerJson as TokenizerJson;
  const tokenizer = createTokenizer(files);
  const { tokens, types } = tokenList(json, options.vocabSize);
  const merges = (json.model.merges ?? []).map(parts);
  const fields = new Map<string, GgufField>();
  const add = (key: string, field: GgufField) => fields.set(`tokenizer.ggml.${key}`, field);
  const sentencePiece = json.model.byte_fallback === true;
  add("model", ["string", sentencePiece ? "llama" : "gpt2"]);
  add("pre", ["string", sentencePiece ? "default" : splittingOf(json)]);
  add("tokens", ["string[]", tokens]);
  if (sentencePiece) add("scores", ["f32[]", scoresOf(tokens, merges)]);
  add("token_type", ["i32[]", types]);
  if (sentencePiece) add("add_space_prefix", ["bool", addsSpacePrefix(json)]);
  else add("merges", ["string[]", merges.map((pair) => pair.join(" "))]);
  addSpecialTokens(add, tokenizer, options);
  const { chatTemplate, namedTemplates } = files;
  if (chatTemplate !== undefined) fields.set("tokenizer.chat_template", ["string", chatTemplate]);
  if (namedTemplates) fields.set("tokenizer.chat_templates", ["string[]", [...namedTemplates.keys()]]);
  for (const [name, template] of namedTemplates ?? []) {
    fields.set(`tokenizer.chat_template.${name}`, ["string", template]);
  }
  if (sentencePiece) checkScores(fields, merges);
  return fields;
}

/** The tokens that a tokenizer.json adds to its vocabulary. */
export const addedTokens = ({ tokenizerJson }: TokenizerFiles): readonly AddedTokenJson[] =>
  (tokenizerJson as TokenizerJson).added_tokens ?? [];

function addSpecialTokens(
  add: (key: string, field: GgufField) => void,
  tokenizer: Tokenizer,
  options: GgufTokenizerOptions,
): void {
  const eosId = tokenizer.eosId ?? options.eosIds[0];
  const [eot, eom] = options.eosIds.filter((id) => id !== eosId);
  const ids = {
    bos: tokenizer.bosId ?? options.bosId,
    eos: eosId,
    eot,
    eom,
    unknown: tokenizer.unkId,
    padding: tokenizer.padId,
  };
  for (const [name, id] of Object.entries(ids)) {
    if (id !== undefined && id < options.vocabSize) add(`${name}_token_id`, ["u32", id]);
  }
  add("add_bos_token", ["bool", tokenizer.addsBos]);
  add("add_eos_token", ["bool", tokenizer.eosId !== undefined && tokenizer.encode("").at(-1) === tokenizer.eosId]);
}

/** Tokens by id and llama.cpp's type of each; ids without a token are filled as its converter fills them. */
function tokenList(json: TokenizerJson, vocabSize: number): { tokens: string[]; types: number[] } {
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(vocabSize).fill(TOKEN_TYPES.unused);
  const put = (id: number, token: string, type: number) => {
    if (id >= vocabSize) {
      throw new UserError(
        `tokenizer.json: token ${JSON.stringify(token)} has the id ${id}, the model has ${vocabSize}`,
      );
    }
    tokens[id] = token;
    types[id] = type;
  };
  const { vocab, unk_token: unknown, byte_fallback: bytes } = json.model;
  for (const [token, id] of Object.entries(vocab)) {
    put(id, token, bytes && /^<0x[0-9A-F]{2}>$/.test(token) ? TOKEN_TYPES.byte : TOKEN_TYPES.normal);
  }
  for (const { id, content, special } of json.added_tokens ?? []) {
    put(id, content, special ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined);
  }
  if (typeof unknown === "string" && vocab[unknown] !== undefined) types[vocab[unknown]] = TOKEN_TYPES.unknown;
  return { tokens, types };
}

/** The `tokenizer.ggml.pre` that splits text as this tokenizer.json does. */
function splittingOf({ normalizer, pre_tokenizer: pre, model }: TokenizerJson): string {
  const found = preTokenizerName(normalizer, pre, model.ignore_merges ?? false);
  if (found !== undefined) return found;
  const types = [normalizer, pre].flatMap((step) => stepsOf(step).map(({ type }) => type));
  throw new UserError(
    `tokenizer.json: its splitting (${types.join(", ") || "no pre-tokenizer"}) is none of those that llama.cpp has a name for and ` +
      `lowrank knows: GPT-2's, SmolLM's, Llama 3's, Qwen2's, Mistral's, GPT-4o's, DeepSeek's; exporting with ${option("to", "hf")} keeps the tokenizer as it is`,
  );
}

function addsSpacePrefix({ normalizer, pre_tokenizer: pre }: TokenizerJson): boolean {
  if (stepsOf(normalizer).some((step) => step.type === "Prepend")) return true;
  return pre?.type === "Metaspace" && (pre.prepend_scheme ?? "always") !== "never";
}

/** The two tokens of a merge, which may be written as one text with a space between. */
function parts(merge: string | readonly [string, string]): readonly [string, string] {
  if (typeof merge !== "string") return merge;
  const space = merge.indexOf(" ", 1);
  return [merge.slice(0, space), merge.slice(space + 1)];
}

/** llama.cpp's "llama" tokenizer merges by score. Throws UserError where no scores say what the merges say. */
function scoresOf(tokens: readonly string[], merges: readonly (readonly [string, string])[]): number[] {
  const scores = scoresOfMerges(tokens, merges);
  if (scores) return scores;
  throw notSentencePiece();
}

/** Scores say less than merges: what they give back must make the same tokens, in the same order, out of the same parts. */
function checkScores(fields: ReadonlyMap<string, GgufField>, merges: readonly (readonly [string, string])[]): void {
  const metadata = new Map([...fields].map(([key, [, value]]) => [key, value as GgufValue]));
  const back = tokenizerFromGguf(metadata, "tokenizer.json").tokenizerJson as TokenizerJson;
  const known = new Set(merges.map((pair) => pair.join(" ")));
  const returned = back.model.merges.map((pair) => (pair as readonly string[]).join(" "));
  if (returned.length !== merges.length || !returned.every((merge) => known.has(merge))) throw notSentencePiece();
}

const notSentencePiece = (): UserError =>
  new UserError(
    `tokenizer.json: its merges are not those of a SentencePiece vocabulary, which is all that a GGUF of this kind can hold; exporting with ${option("to", "hf")} keeps the tokenizer as it is`,
  );
