import { UserError } from "../tensor/index.js";
import type { TokenizerFiles } from "../tokenizers/files.js";
import { createTokenizer, type Tokenizer } from "../tokenizers/tokenizer.js";
import type { GgufValue } from "./gguf.js";
import { PRE_TOKENIZERS, TOKEN_TYPES, tokenizerFromGguf } from "./gguf-tokenizer.js";
import type { GgufField } from "./gguf-writer.js";

interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
}

interface Step {
  readonly type?: string;
  readonly pretokenizers?: readonly Step[];
  readonly normalizers?: readonly Step[];
  readonly [key: string]: unknown;
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
  const merges = (json.model.merges ?? []).map((merge) => (typeof merge === "string" ? merge : merge.join(" ")));
  const fields = new Map<string, GgufField>();
  const add = (key: string, field: GgufField) => fields.set(`tokenizer.ggml.${key}`, field);
  const sentencePiece = json.model.byte_fallback === true;
  add("model", ["string", sentencePiece ? "llama" : "gpt2"]);
  add("pre", ["string", sentencePiece ? "default" : preTokenizerName(json)]);
  add("tokens", ["string[]", tokens]);
  if (sentencePiece) add("scores", ["f32[]", scoresOf(tokens, merges)]);
  add("token_type", ["i32[]", types]);
  if (sentencePiece) add("add_space_prefix", ["bool", addsSpacePrefix(json)]);
  else add("merges", ["string[]", merges]);
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
  for (const [name, id] of Object.entries(ids)) if (id !== undefined) add(`${name}_token_id`, ["u32", id]);
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

/** What decides how a step splits, with the library's defaults filled in. */
function essence(step: Step): string {
  const { type, pattern, behavior, invert, individual_digits: digits } = step;
  if (type !== "ByteLevel") return JSON.stringify({ type, pattern, behavior, invert, digits });
  return JSON.stringify({ type, useRegex: step.use_regex ?? true, prefix: step.add_prefix_space ?? true });
}

/** The `tokenizer.ggml.pre` that splits text as this tokenizer.json does. */
function preTokenizerName(json: TokenizerJson): string {
  const pre = json.pre_tokenizer;
  const steps = pre?.type === "Sequence" ? (pre.pretokenizers ?? []) : pre ? [pre] : [];
  const found = (["gpt-2", "smollm", "llama-bpe"] as const).find((name) => {
    const known = PRE_TOKENIZERS[name]!;
    const same =
      known.steps.length === steps.length && known.steps.every((s, i) => essence(s as Step) === essence(steps[i]!));
    return same && known.ignoreMerges === (json.model.ignore_merges ?? false);
  });
  if (found && !json.normalizer) return found;
  const came = steps.map(({ type }) => type).join(", ") || "no pre-tokenizer";
  throw new UserError(
    `tokenizer.json: its splitting (${[json.normalizer?.type, came].filter(Boolean).join(", ")}) is none of those that can be named in a GGUF here: GPT-2's, SmolLM's and Llama 3's; ` +
      "export --to hf keeps the tokenizer as it is",
  );
}

function addsSpacePrefix({ normalizer, pre_tokenizer: pre }: TokenizerJson): boolean {
  const steps = normalizer?.type === "Sequence" ? (normalizer.normalizers ?? []) : [normalizer];
  if (steps.some((step) => step?.type === "Prepend")) return true;
  return pre?.type === "Metaspace" && (pre.prepend_scheme ?? "always") !== "never";
}

/** llama.cpp's "llama" tokenizer merges by score: minus the rank of the first merge that makes a token. */
function scoresOf(tokens: readonly string[], merges: readonly string[]): number[] {
  const ranks = new Map<string, number>();
  for (const made of merges.map(result)) if (!ranks.has(made)) ranks.set(made, ranks.size);
  return tokens.map((token) => -(ranks.get(token) ?? ranks.size));
}

const result = (merge: string): string => {
  const space = merge.indexOf(" ", 1);
  return merge.slice(0, space) + merge.slice(space + 1);
};

/** Scores say less than merges: what they give back must make the same tokens, in the same order, out of the same parts. */
function checkScores(fields: ReadonlyMap<string, GgufField>, merges: readonly string[]): void {
  const metadata = new Map([...fields].map(([key, [, value]]) => [key, value as GgufValue]));
  const back = tokenizerFromGguf(metadata, "tokenizer.json").tokenizerJson as TokenizerJson;
  const returned = back.model.merges.map((merge) => (merge as readonly string[]).join(" "));
  const order = (list: readonly string[]) => list.map(result).filter((made, i, all) => made !== all[i - 1]);
  const same = (a: readonly string[], b: readonly string[]) => a.length === b.length && a.every((x, i) => x === b[i]);
  if (same(order(merges), order(returned)) && same([...merges].sort(), [...returned].sort())) return;
  throw new UserError(
    "tokenizer.json: its merges are not those of a SentencePiece vocabulary, which is all that a GGUF of this kind can hold; export --to hf keeps the tokenizer as it is",
  );
}
