import { UserError } from "../tensor/index.js";
import type { EncodedRow } from "./encode.js";
import { type JsonObject, kindOf } from "./fields.js";
import type { Example } from "./row.js";
import { MARKS, type Sample } from "./sample.js";

/** The field of a row that only a teacher reads: what is put before the rest, such as documents or instructions. */
export const TEACHER_FIELD = "teacher_prompt";

/** A row's own prompt for the teacher, and the row without it. Throws UserError where it is not text. */
export function teacherPromptOf(row: JsonObject): { readonly prompt: string; readonly row: JsonObject } {
  const { [TEACHER_FIELD]: prompt = null, ...rest } = row;
  if (prompt !== null && typeof prompt !== "string")
    throw new UserError(`${TEACHER_FIELD} must be a string, not ${kindOf(prompt)}`);
  return { prompt: prompt ?? "", row: rest };
}

/**
 * A row as a teacher reads it: the prompt is a conversation's system message, in front of the one that it has, or stands before a
 * text's prompt; an empty line is between the two.
 */
export function behindPrompt(example: Example, prompt: string): Example {
  const before = (text: string) => (text === "" ? prompt : `${prompt}\n\n${text}`);
  if (example.kind === "prompt") return example; // it has no answer to be taught
  if (example.kind === "text") return { ...example, prompt: `${prompt}\n\n${example.prompt}` };
  const [first, ...rest] = example.messages;
  if (first?.role === "system" && typeof first.content === "string")
    return { ...example, messages: [{ ...first, content: before(first.content) }, ...rest] };
  return {
    ...example,
    messages: [{ role: "system", content: prompt }, ...example.messages],
    completion: example.completion > 0 ? example.completion + 1 : 0,
    muted: new Set([...example.muted].map((i) => i + 1)),
  };
}

/** A sample with what its teacher reads in its place, cut to the sample's targets; text says why there is none. */
export function withTaught(sample: Sample, { ids, supervised }: EncodedRow): Sample | string {
  const wanted = targets(sample.ids, sample.supervised);
  const found = targets(ids, supervised);
  if (wanted.some((at, i) => found[i] === undefined || ids[found[i]!] !== sample.ids[at]))
    return "behind its teacher's prompt the row's targets are other tokens: only answers can be taught so, and a text's answer must begin with a token of its own";
  const end = found[wanted.length - 1]! + 1;
  const marks = new Uint8Array(end);
  for (const at of found.slice(0, wanted.length)) marks[at] = MARKS.target;
  return { ...sample, taughtBy: { index: sample.index, ids: Int32Array.from(ids.slice(0, end)), supervised: marks } };
}

/** Positions of targets; the first token is none: nothing predicts it. */
function targets(ids: ArrayLike<number>, supervised: ArrayLike<number>): number[] {
  return Array.from(ids, (_, i) => i).filter((i) => i > 0 && supervised[i] === MARKS.target);
}
