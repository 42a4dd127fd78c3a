import { nearest, UserError } from "../../tensor/index.js";
import { has, type JsonObject, keysOf, openFields } from "../fields.js";
import type { Row, RowKind } from "../row.js";
import { shown } from "../shown.js";
import { TEACHER_FIELD } from "../taught.js";
import type { SeenFields } from "../turns.js";
import { alpaca } from "./alpaca.js";
import type { Format } from "./format.js";
import { messages } from "./messages.js";
import { openaiPreference } from "./openai-preference.js";
import { openaiTools } from "./openai-tools.js";
import { preference } from "./preference.js";
import { promptCompletion } from "./prompt-completion.js";
import { promptOnly } from "./prompt-only.js";
import { refuseMeaningful, refusePreference } from "./refused.js";
import { sharegpt } from "./sharegpt.js";
import { text } from "./text.js";
import { unpairedPreference } from "./unpaired-preference.js";

/** The formats, in the order in which they are tried. */
export const formats = {
  openai_tools: openaiTools,
  messages,
  sharegpt,
  alpaca,
  prompt_completion: promptCompletion,
  text,
  preference,
  openai_preference: openaiPreference,
  unpaired_preference: unpairedPreference,
  prompt_only: promptOnly,
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof formats;

export const formatNames = Object.keys(formats) as [FormatName, ...FormatName[]];

/** Can a row be read in this format? */
const fits = (row: JsonObject, { needs }: Format): boolean => needs.every((name) => has(row, name));

/** The fields of a row that some format, or the one that is named, reads, and that of a teacher. */
export function knownFields(name: FormatName | "auto"): string[] {
  const read = (name === "auto" ? formatNames : [name]).flatMap((one) => [
    ...formats[one].needs,
    ...formats[one].takes,
  ]);
  return [...new Set([...read, TEACHER_FIELD])];
}

/** What the rows of a format give to learn from. */
export const rowKind = (name: FormatName): RowKind => (formats[name] as Format).rows ?? "texts";

/** What a row gives to learn from without being answered first, as far as its keys tell; "texts" where they do not. */
export function kindOfRow(row: JsonObject): RowKind {
  const others = formatNames.filter((name) => !["texts", "prompts"].includes(rowKind(name)));
  const found = others.find((name) => fits(row, formats[name]));
  return found ? rowKind(found) : "texts";
}

/** The format of a row by its keys, among those of a kind. Throws UserError naming the keys and the formats there are. */
export function detectFormat(row: JsonObject, kind: RowKind = "texts"): FormatName {
  const names = formatNames.filter((name) => rowKind(name) === kind);
  const found = names.find((name) => fits(row, formats[name]) && ((formats[name] as Format).tells?.(row) ?? true));
  if (found) return found;
  if (kind === "texts") refusePreference(row);
  const known = names.flatMap((name): readonly string[] => formats[name].needs);
  const keys = Object.keys(row).slice(0, 8);
  const others = keys.filter((key) => !known.includes(key));
  const near = others.map((key) => nearest(shown(key), known)).find((key) => key !== undefined);
  const shapes = names.map((name) => formats[name].shape).join("  ");
  throw new UserError(
    `its keys are ${keysOf(row)}${near ? ` (did you mean ${near}?)` : ""}; expected one of ${shapes}; data.columns says which key is which field`,
  );
}

/** Reads a row of a format; `why` says how the format is known. Throws UserError saying what is wrong with the row. */
export function readRow(row: JsonObject, name: FormatName, why: string, seen: SeenFields): Row {
  const format: Format = formats[name];
  if (!fits(row, format)) {
    if (rowKind(name) === "texts") refusePreference(row);
    throw new UserError(`its keys are ${keysOf(row)}; expected ${name}, ${why}: ${format.shape}`);
  }
  const fields = openFields(row);
  const read = format.read(fields, seen);
  for (const [key, value] of fields.unused()) {
    refuseMeaningful(key, value);
    seen.unused.add(key);
  }
  return read;
}
