import { UserError } from "../../tensor/index.js";
import { chatRow } from "../chat-row.js";
import { type Fields, isEmpty, unwrapped } from "../fields.js";
import type { PromptRow } from "../row.js";
import { readTurns, type SeenFields } from "../turns.js";
import type { Format } from "./format.js";

/** TRL's prompts that the model answers itself; what else a row holds is there for those who reward the answers. */
export const promptOnly: Format = {
  shape: '{"prompt": "...", "answer": "..."}',
  needs: ["prompt"],
  takes: ["system", "tools"],
  rows: "prompts",
  read: readPrompt,
  trainOn: ["completion"],
};

/** Fields that would change the prompt. */
const OF_PROMPTS = new Set([
  "system",
  "tools",
  "history",
  "functions",
  "images",
  "videos",
  "audios",
  "documents",
  "chat_template_kwargs",
]);

function readPrompt(fields: Fields, seen: SeenFields): PromptRow {
  const given = fields.value("prompt");
  const read = Array.isArray(given) ? conversation(fields, given, seen) : { prompt: textOf(fields) };
  const others = fields.unused().filter(([name]) => !OF_PROMPTS.has(name));
  return {
    kind: "prompt",
    ...read,
    columns: Object.fromEntries(others.map(([name]) => [name, plain(fields.value(name))])),
  };
}

function textOf(fields: Fields): string {
  const text = fields.text("prompt");
  if (text === "") throw new UserError("prompt is empty: there is nothing to answer");
  return text;
}

function conversation(
  fields: Fields,
  turns: readonly unknown[],
  seen: SeenFields,
): Pick<PromptRow, "prompt" | "tools"> {
  if (isEmpty(turns)) throw new UserError("prompt has no messages: there is nothing to answer");
  const { messages, tools } = chatRow(fields, readTurns(turns, "prompt", seen), 0);
  if (messages.at(-1)!.role === "assistant")
    throw new UserError("prompt ends with an assistant turn, and the assistant's next is what is sampled: take it out");
  return { prompt: messages, ...(tools ? { tools } : {}) };
}

/** A value without the objects that readers of JSON have for numbers that JavaScript would change. */
function plain(value: unknown): unknown {
  const held = unwrapped(value);
  if (typeof held === "bigint") return String(held);
  if (Array.isArray(held)) return held.map(plain);
  if (typeof held !== "object" || held === null) return held;
  return Object.fromEntries(Object.entries(held).map(([name, inner]) => [name, plain(inner)]));
}
