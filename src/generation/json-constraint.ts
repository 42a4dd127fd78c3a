import { UserError } from "../tensor/index.js";
import { advance, bytesToClose, JSON_START, type JsonState } from "./json-bytes.js";
import type { TokenConstraint } from "./types.js";

/** What a JSON text may be made of: the tokens of a vocabulary by their first byte. */
export interface JsonVocabulary {
  /** Bytes of a token; undefined for ids that no JSON text holds (special and added tokens, ids without a token). */
  bytes(id: number): Uint8Array | undefined;
  readonly byFirstByte: readonly (readonly number[])[];
  /** Every byte that goes on a UTF-8 character is a token: characters may be spelled in several. */
  readonly splitsCharacters: boolean;
}

/** Bytes that may be needed to close an object, each of which has to be a token. */
const CLOSING = '{}[]":0truefalsn';

/** Sorts a vocabulary. Throws UserError when it cannot write JSON byte by byte. */
export function jsonVocabulary(size: number, bytesOf: (id: number) => Uint8Array | undefined): JsonVocabulary {
  const all = Array.from({ length: size }, (_, id) => bytesOf(id));
  const byFirstByte = Array.from({ length: 256 }, (): number[] => []);
  for (const [id, bytes] of all.entries()) if (bytes?.length) byFirstByte[bytes[0]!]!.push(id);
  const alone = (byte: number) => byFirstByte[byte]!.some((id) => all[id]!.length === 1);
  const missing = [...CLOSING].find((c) => !alone(c.charCodeAt(0)));
  if (missing)
    throw new UserError(`JSON: the tokenizer has no token for '${missing}' alone, so it cannot be kept to JSON`);
  const splitsCharacters = Array.from({ length: 64 }, (_, i) => 0x80 + i).every(alone);
  return { bytes: (id) => (all[id]?.length ? all[id] : undefined), byFirstByte, splitsCharacters };
}

/**
 * Keeps a text to one JSON object: after it only the stop tokens may come, and in at most `maxTokens` tokens it is always
 * whole, as it is closed while there still is room. Throws UserError below 2 tokens.
 */
export function jsonConstraint(
  vocabulary: JsonVocabulary,
  { stopIds, maxTokens }: { readonly stopIds: ReadonlySet<number>; readonly maxTokens: number },
): TokenConstraint {
  if (maxTokens < bytesToClose(JSON_START)) throw new UserError(`JSON: ${maxTokens} new tokens cannot hold an object`);
  let state: JsonState = JSON_START;
  let left = maxTokens;
  const after = (id: number): JsonState | undefined => {
    const bytes = vocabulary.bytes(id);
    const next = bytes && advance(state, bytes);
    if (!next || (next.mode === "utf8" && !vocabulary.splitsCharacters)) return undefined;
    return bytesToClose(next) < left ? next : undefined;
  };
  const allows = (id: number) => (state.mode === "done" ? stopIds.has(id) : after(id) !== undefined);
  return {
    allows,
    mask(logits) {
      const allowed = new Uint8Array(logits.length);
      if (state.mode === "done") for (const id of stopIds) allowed[id] = 1;
      for (const [byte, ids] of vocabulary.byFirstByte.entries()) {
        if (advance(state, Uint8Array.of(byte))) for (const id of ids) if (allows(id)) allowed[id] = 1;
      }
      for (let id = 0; id < logits.length; id++) if (!allowed[id]) logits[id] = Number.NEGATIVE_INFINITY;
    },
    push(id) {
      state = state.mode === "done" ? state : (after(id) ?? state);
      left--;
    },
  };
}
