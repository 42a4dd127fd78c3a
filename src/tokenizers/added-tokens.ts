import { UserError } from "../tensor/index.js";
import { isId, LARGEST_ID, shownToken, shownValue } from "./bpe-json.js";
import { tokenContent } from "./files.js";

/** A token that is found in a text before anything else is done with it. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  /** Is no part of a word. */
  readonly singleWord: boolean;
  /** Swallows the whitespace before it. */
  readonly lstrip: boolean;
  /** Swallows the whitespace after it. */
  readonly rstrip: boolean;
  /** Is looked for, normalised itself, in the normalised text. */
  readonly normalized: boolean;
}

const WHERE = "tokenizer.json: added_tokens";
const LONGEST = 1000;

/** Keys of tokenizer_config.json that name a special token, in transformers' order; two more name lists of them. */
const NAMED = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] as const;
const LISTED = ["additional_special_tokens", "extra_special_tokens"] as const;

/**
 * The added tokens: those of tokenizer.json, then what tokenizer_config.json adds to them as transformers does: its
 * `added_tokens_decoder`, and special tokens that it only names. A token that is in the vocabulary has its id there, any other
 * the next one that is free. Throws UserError for what is no token, and for an id in the file that is another.
 */
export function readAddedTokens(
  json: unknown,
  config: Readonly<Record<string, unknown>>,
  vocab: ReadonlyMap<string, number>,
): AddedToken[] {
  const list = json ?? [];
  if (!Array.isArray(list)) throw new UserError(`${WHERE} must be a list`);
  const found = new Map<string, AddedToken>();
  let next = vocab.size;
  const add = (token: Omit<AddedToken, "id">, id: unknown, where: string) => {
    if (token.content === "") return;
    const given = found.get(token.content)?.id ?? vocab.get(token.content) ?? next;
    if (id !== undefined && id !== given) {
      throw new UserError(
        `${where}: ${shownToken(token.content)} says its id is ${shownValue(id)}, but the tokenizers library gives it ${given}: ` +
          "a token of the vocabulary has its id there, and the others are counted on from the vocabulary's end in the order of the list",
      );
    }
    if (given >= next) next = given + 1;
    found.set(token.content, { ...token, id: given });
  };
  for (const [i, token] of list.entries()) {
    const id: unknown = (token as { id?: unknown } | null)?.id;
    if (!isId(id))
      throw new UserError(
        `${WHERE}[${i}]: its id must be a whole number from 0 to ${LARGEST_ID}, not ${shownValue(id)}`,
      );
    add(readToken(token, false, `${WHERE}[${i}]`), id, `${WHERE}[${i}]`);
  }
  for (const [token, where] of tokensOfConfig(config, found)) add(token, undefined, where);
  const ids = new Set<number>();
  for (const { id, content } of found.values()) {
    if (ids.has(id)) throw new UserError(`${WHERE}: ${shownToken(content)} has an id that another has`);
    ids.add(id);
  }
  return [...found.values()];
}

function* tokensOfConfig(
  config: Readonly<Record<string, unknown>>,
  found: ReadonlyMap<string, AddedToken>,
): Generator<[Omit<AddedToken, "id">, string]> {
  const decoder = config.added_tokens_decoder;
  if (typeof decoder === "object" && decoder !== null) {
    const entries = Object.entries(decoder).sort(([a], [b]) => Number(a) - Number(b));
    for (const [id, token] of entries) {
      const where = `tokenizer_config.json: added_tokens_decoder[${JSON.stringify(id.slice(0, 20))}]`;
      yield [readToken(token, false, where), where];
    }
  }
  const lists = LISTED.flatMap((key) => (Array.isArray(config[key]) ? (config[key] as unknown[]) : []));
  for (const token of [...NAMED.map((key) => config[key]), ...lists]) {
    const content = tokenContent(token);
    if (content === undefined || found.has(content)) continue;
    const settings = typeof token === "string" ? { content } : (token as object);
    yield [readToken({ ...settings, special: true }, true, "tokenizer_config.json"), "tokenizer_config.json"];
  }
}

/** Settings that are not given are those of a plain token; `special` ones are not normalised by default. */
function readToken(json: unknown, special: boolean, where: string): Omit<AddedToken, "id"> {
  const token = (typeof json === "object" && json !== null ? json : {}) as Readonly<Record<string, unknown>>;
  const { content } = token;
  if (typeof content !== "string")
    throw new UserError(`${where}: its content must be a text, not ${shownValue(content)}`);
  if (content.length > LONGEST) {
    throw new UserError(`${where}: an added token has at most ${LONGEST} characters, this one has ${content.length}`);
  }
  const flag = (key: string, otherwise: boolean): boolean => {
    const value = token[key] ?? otherwise;
    if (typeof value === "boolean") return value;
    throw new UserError(`${where}: ${key} must be true or false, not ${shownValue(value)}`);
  };
  const isSpecial = flag("special", special);
  return {
    content,
    special: isSpecial,
    singleWord: flag("single_word", false),
    lstrip: flag("lstrip", false),
    rstrip: flag("rstrip", false),
    normalized: flag("normalized", !isSpecial),
  };
}
