import { UserError } from "../tensor/index.js";

/** A model of type BPE as tokenizer.json has it, checked. */
export interface BpeModel {
  readonly vocab: ReadonlyMap<string, number>;
  readonly merges: readonly (readonly [string, string])[];
  readonly unkToken: string | undefined;
  /** Unknown characters beside each other are one unknown token. */
  readonly fuseUnk: boolean;
  /** A character without a token is written in tokens of its bytes (`<0xNN>`). */
  readonly byteFallback: boolean;
  /** A word that is a token is taken whole. */
  readonly ignoreMerges: boolean;
}

const WHERE = "tokenizer.json: model";
/** No vocabulary comes near it; what is made for each id stays small. */
export const LARGEST_ID = 2 ** 24 - 1;

/** Throws UserError for a model that is not BPE, is damaged, or has settings that are not supported. */
export function readModel(json: unknown): BpeModel {
  if (typeof json !== "object" || json === null) throw new UserError(`${WHERE}: missing, or not an object`);
  const model = json as Readonly<Record<string, unknown>>;
  const type = model.type ?? "BPE";
  if (type !== "BPE") {
    throw new UserError(
      `${WHERE}: a model of type ${JSON.stringify(type)} is not supported; the tokenizers of the models here are of type BPE`,
    );
  }
  refuseOptions(model);
  const unk = model.unk_token ?? undefined;
  if (unk !== undefined && typeof unk !== "string") throw new UserError(`${WHERE}.unk_token must be a text`);
  return {
    vocab: readVocab(model.vocab),
    merges: readMerges(model.merges),
    unkToken: unk,
    fuseUnk: option(model, "fuse_unk"),
    byteFallback: option(model, "byte_fallback"),
    ignoreMerges: option(model, "ignore_merges"),
  };
}

/** Is this a number that can be the id of a token? */
export function isId(id: unknown): id is number {
  return typeof id === "number" && Number.isInteger(id) && id >= 0 && id <= LARGEST_ID;
}

function option(model: Readonly<Record<string, unknown>>, key: string): boolean {
  const value = model[key] ?? false;
  if (typeof value === "boolean") return value;
  throw new UserError(`${WHERE}.${key} must be true or false`);
}

function refuseOptions(model: Readonly<Record<string, unknown>>): void {
  for (const key of ["continuing_subword_prefix", "end_of_word_suffix"]) {
    if ((model[key] ?? "") !== "")
      throw new UserError(`${WHERE}.${key} ${JSON.stringify(model[key])} is not supported`);
  }
  if ((model.dropout ?? 0) !== 0) {
    throw new UserError(
      `${WHERE}.dropout ${JSON.stringify(model.dropout)}: the same text would get other tokens each time; set it to null`,
    );
  }
}

function readVocab(json: unknown): Map<string, number> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new UserError(`${WHERE}.vocab must be an object of tokens and their ids`);
  }
  const vocab = new Map<string, number>();
  const ids = new Set<number>();
  for (const [token, id] of Object.entries(json)) {
    if (!isId(id)) {
      throw new UserError(
        `${WHERE}.vocab: the id of ${shownToken(token)} must be a whole number from 0 to ${LARGEST_ID}, not ${shownValue(id)}`,
      );
    }
    if (ids.has(id)) {
      const other = [...vocab].find(([, known]) => known === id)![0];
      throw new UserError(`${WHERE}.vocab: ${shownToken(other)} and ${shownToken(token)} both have the id ${id}`);
    }
    vocab.set(token, id);
    ids.add(id);
  }
  return vocab;
}

/** A token as messages show it: it may be of any length, and hold anything. */
export function shownToken(token: string): string {
  return JSON.stringify(token.slice(0, 100));
}

/** What came, in a few letters: it may be of any depth. */
export function shownValue(value: unknown): string {
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "a list" : "an object";
  return (JSON.stringify(value) ?? "nothing").slice(0, 100);
}

/** Pairs, or texts with one space in them, which may begin with a `#version` line. */
function readMerges(json: unknown): (readonly [string, string])[] {
  if (!Array.isArray(json))
    throw new UserError(`${WHERE}.merges must be a list; without it a BPE vocabulary cannot be used`);
  const given = json.filter((merge) => !(typeof merge === "string" && merge.startsWith("#version")));
  return given.map((merge: unknown, i) => {
    const parts: unknown = typeof merge === "string" ? merge.split(" ") : merge;
    if (isPair(parts)) return parts;
    throw new UserError(`${WHERE}.merges[${i}] is not two tokens: ${shownValue(merge)}`);
  });
}

function isPair(parts: unknown): parts is readonly [string, string] {
  if (!Array.isArray(parts) || parts.length !== 2) return false;
  const [left, right] = parts as unknown[];
  return typeof left === "string" && typeof right === "string" && left !== "" && right !== "";
}
