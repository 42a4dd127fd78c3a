import { nearest, UserError } from "../../tensor/index.js";
import { readChat, readPromptCompletion } from "../chat-row.js";
import { answer, type Fields, has, type JsonObject, keysOf, openFields } from "../fields.js";
import type { Row, TrainOn } from "../row.js";
import { shown } from "../shown.js";
import type { SeenFields } from "../turns.js";
import { readAlpaca } from "./alpaca.js";

/** A dataset format: how its rows are known, read, and what of them is trained on. */
export interface Format {
  /** What a row looks like, for messages. */
  readonly shape: string;
  readonly recognises: (row: JsonObject) => boolean;
  /** Throws UserError saying what is wrong with the row. What it does not ask `fields` for is known to be unused. */
  readonly read: (fields: Fields, seen: SeenFields) => Row;
  /** The `train_on` values that make sense, the default first. */
  readonly trainOn: readonly [TrainOn, ...TrainOn[]];
}

const answers = ["completion", "assistant", "last", "all"] as const;

/** The formats, in the order in which they are tried. */
export const formats = {
  messages: {
    shape: '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}',
    recognises: (row) => has(row, "messages") || has(row, "conversations"),
    read: readChat,
    trainOn: ["assistant", "last", "all"],
  },
  alpaca: {
    shape: '{"instruction": "...", "input": "...", "output": "..."}',
    recognises: (row) => has(row, "instruction") && has(row, "output"),
    read: readAlpaca,
    trainOn: answers,
  },
  prompt_completion: {
    shape: '{"prompt": "...", "completion": "..."}',
    recognises: (row) => has(row, "prompt") && has(row, "completion"),
    read: readPromptCompletion,
    trainOn: answers,
  },
  text: {
    shape: '{"text": "..."}',
    recognises: (row) => has(row, "text"),
    read: (fields) => ({ kind: "text", prompt: "", completion: answer(fields, "text") }),
    trainOn: ["all"],
  },
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof formats;

/** The format of a row by its keys. Throws UserError naming the keys and the formats there are. */
export function detectFormat(row: JsonObject): FormatName {
  const names = Object.keys(formats) as FormatName[];
  const found = names.find((name) => formats[name].recognises(row));
  if (found) return found;
  refusePreference(row);
  const known = ["messages", "conversations", "instruction", "output", "prompt", "completion", "text"];
  const keys = Object.keys(row).slice(0, 8);
  const others = keys.filter((key) => !known.includes(key));
  const near = others.map((key) => nearest(shown(key), known)).find((key) => key !== undefined);
  const shapes = names.map((name) => formats[name].shape).join("  ");
  throw new UserError(
    `its keys are ${keysOf(row)}${near ? ` (did you mean ${near}?)` : ""}; expected one of ${shapes}`,
  );
}

/** Reads a row of a format; `why` says how the format is known. Throws UserError saying what is wrong with the row. */
export function readRow(row: JsonObject, name: FormatName, why: string, seen: SeenFields): Row {
  const format: Format = formats[name];
  if (!format.recognises(row)) {
    refusePreference(row);
    throw new UserError(`its keys are ${keysOf(row)}; expected ${name}, ${why}: ${format.shape}`);
  }
  const fields = openFields(row);
  const read = format.read(fields, seen);
  for (const [key, value] of fields.unused()) {
    const meaning = Object.hasOwn(meaningful, key) ? meaningful[key]! : undefined;
    if (meaning?.when?.(value) ?? meaning) throw new UserError(`${key} ${meaning!.why}`);
    seen.unused.add(key);
  }
  return read;
}

/** TRL's and OpenAI's pairs of a better and a worse answer. */
const preferencePairs = [
  ["chosen", "rejected"],
  ["preferred_output", "non_preferred_output"],
] as const;

function refusePreference(row: JsonObject): void {
  const pair = preferencePairs.find(([better, worse]) => has(row, better) && has(row, worse));
  if (!pair) return;
  throw new UserError(
    `it is a preference row (${pair.join(" and ")}); preferences are not trained on yet: give the better answers as messages, or as prompt and completion`,
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
    why: "with true or false makes it a preference row, and preferences are not trained on yet: keep the good rows, without label",
    when: (value) => typeof value === "boolean",
  },
  kto_tag: { why: "makes it a preference row, and preferences are not trained on yet: keep the good rows, without it" },
  images: { why: textAlone },
  videos: { why: textAlone },
  audios: { why: textAlone },
  documents: { why: noVariables },
  chat_template_kwargs: { why: noVariables },
};
