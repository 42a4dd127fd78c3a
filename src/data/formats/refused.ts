import { UserError } from "../../tensor/index.js";
import { has, type JsonObject } from "../fields.js";

/** TRL's and OpenAI's pairs of a better and a worse answer. */
const preferencePairs = [
  ["chosen", "rejected"],
  ["preferred_output", "non_preferred_output"],
] as const;

const PREFERENCES = "set objective.name to one that learns from such rows (docs/preferences.md)";

/** Throws UserError for a pair of answers where texts are learned. */
export function refusePreference(row: JsonObject): void {
  const pair = preferencePairs.find(([better, worse]) => has(row, better) && has(row, worse));
  if (!pair) return;
  throw new UserError(
    `it is a preference row (${pair.join(" and ")}), and cross entropy learns from single answers: ${PREFERENCES}, or give the better answers as messages, or as prompt and completion`,
  );
}

const conversational = "is read in rows of messages alone, and this row is plain text: give messages";
const textAlone = "cannot be trained on, only text can: take the field out, and what refers to it";
const noVariables = "cannot be given to the chat template by a row: take the field out";

/** Fields that change what a row means: where a format does not read them, the row is refused, not read without them. */
const meaningful: Readonly<Record<string, { readonly why: string; readonly when?: (value: unknown) => boolean }>> = {
  system: { why: conversational },
  tools: { why: conversational },
  history: { why: "is read beside instruction and output alone: give the whole conversation as messages" },
  functions: { why: 'is what OpenAI had before tools: give tools, [{"type": "function", "function": {...}}, ...]' },
  label: {
    why: `with true or false makes it a preference row: ${PREFERENCES}, or keep the good rows, without label`,
    when: (value) => typeof value === "boolean",
  },
  kto_tag: {
    why: "makes it a preference row, in another system's words: give prompt, completion and label, or keep the good rows, without it",
  },
  images: { why: textAlone },
  videos: { why: textAlone },
  audios: { why: textAlone },
  documents: { why: noVariables },
  chat_template_kwargs: { why: noVariables },
};

/** Throws UserError for a field that no format reads and that would have changed what the row means. */
export function refuseMeaningful(key: string, value: unknown): void {
  const meaning = Object.hasOwn(meaningful, key) ? meaningful[key]! : undefined;
  if (meaning?.when?.(value) ?? meaning) throw new UserError(`${key} ${meaning!.why}`);
}
