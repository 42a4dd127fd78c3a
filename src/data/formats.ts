import { nearest, UserError } from "../tensor/index.js";
import type { Message } from "../tokenizers/chat-template.js";

/** A row in the two shapes that are trained on. */
export type Row =
  | { readonly kind: "chat"; readonly messages: readonly Message[]; readonly tools?: readonly unknown[] }
  | { readonly kind: "text"; readonly prompt: string; readonly completion: string };

type Fields = Readonly<Record<string, unknown>>;

/** A dataset format: how its rows are known, read, and what of them is trained on. */
export interface Format {
  /** What a row looks like, for messages. */
  readonly shape: string;
  readonly recognises: (row: Fields) => boolean;
  /** Throws UserError saying what is wrong with the row. */
  readonly read: (row: Fields) => Row;
  /** The `train_on` values that make sense, the default first. */
  readonly trainOn: readonly [TrainOn, ...TrainOn[]];
}

/** Tokens the loss is taken on: every assistant turn, the last one, the completion, or all. */
export type TrainOn = "assistant" | "last" | "completion" | "all";

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
    read: (row) => ({ kind: "text", prompt: alpacaPrompt(row), completion: answer(row, "output") }),
    trainOn: answers,
  },
  prompt_completion: {
    shape: '{"prompt": "...", "completion": "..."}',
    recognises: (row) => has(row, "prompt") && has(row, "completion"),
    read: (row) => ({ kind: "text", prompt: text(row, "prompt"), completion: answer(row, "completion") }),
    trainOn: answers,
  },
  text: {
    shape: '{"text": "..."}',
    recognises: (row) => has(row, "text"),
    read: (row) => ({ kind: "text", prompt: "", completion: answer(row, "text") }),
    trainOn: ["all"],
  },
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof formats;

/** The format of a row by its keys. Throws UserError naming the keys and the formats there are. */
export function detectFormat(row: Fields): FormatName {
  const names = Object.keys(formats) as FormatName[];
  const found = names.find((name) => formats[name].recognises(row));
  if (found) return found;
  const known = ["messages", "conversations", "instruction", "output", "prompt", "completion", "text"];
  const keys = Object.keys(row);
  const near = keys.map((key) => nearest(key, known)).find((key) => key !== undefined);
  throw new UserError(
    `its keys are ${keys.slice(0, 8).join(", ") || "none"}${near ? ` (did you mean ${near}?)` : ""}; expected one of ${names.map((name) => formats[name].shape).join("  ")}`,
  );
}

/** The prompts of Stanford Alpaca, with and without an input. */
function alpacaPrompt(row: Fields): string {
  const instruction = text(row, "instruction");
  const input = row.input === undefined || row.input === null ? "" : text(row, "input");
  return input === ""
    ? `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Response:\n`
    : `Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:\n`;
}

function readChat(row: Fields): Row {
  const shareGpt = !has(row, "messages");
  const list = shareGpt ? row.conversations : row.messages;
  const key = shareGpt ? "conversations" : "messages";
  if (!Array.isArray(list) || list.length === 0) throw new UserError(`${key} must be a list of turns`);
  const messages = list.map((turn, i) => readTurn(turn, `${key}[${i}]`, shareGpt));
  if (!messages.some((message) => message.role === "assistant")) throw new UserError(`${key} has no assistant turn`);
  return { kind: "chat", messages, ...(Array.isArray(row.tools) ? { tools: row.tools } : {}) };
}

/** ShareGPT's names of the roles. */
const shareGptRoles: Record<string, string> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  assistant: "assistant",
  model: "assistant",
  system: "system",
  tool: "tool",
};

function readTurn(turn: unknown, where: string, shareGpt: boolean): Message {
  if (turn === null || typeof turn !== "object") throw new UserError(`${where} is not an object`);
  const fields = turn as Fields;
  if (shareGpt && has(fields, "from")) {
    const role = shareGptRoles[String(fields.from)];
    if (!role) throw new UserError(`${where}.from is ${JSON.stringify(fields.from)}; expected human, gpt or system`);
    return { role, content: content(fields.value, `${where}.value`, role, false) };
  }
  if (typeof fields.role !== "string") throw new UserError(`${where}.role is missing or not a string`);
  const calls = Array.isArray(fields.tool_calls) && fields.tool_calls.length > 0;
  return { ...fields, role: fields.role, content: content(fields.content, `${where}.content`, fields.role, calls) };
}

function content(value: unknown, where: string, role: string, optional: boolean): string | null {
  if (value === undefined || value === null) {
    if (optional) return null;
    throw new UserError(`${where} is missing`);
  }
  const joined = Array.isArray(value) ? value.map((part) => partText(part, where)).join("") : value;
  if (typeof joined !== "string") throw new UserError(`${where} must be a string, not ${typeof joined}`);
  if (role === "assistant" && !optional && joined.trim() === "") throw new UserError(`${where}: empty assistant turn`);
  return joined;
}

function partText(part: unknown, where: string): string {
  const { type, text } = (part ?? {}) as Fields;
  if (type === "text" && typeof text === "string") return text;
  throw new UserError(`${where} has a part of type ${JSON.stringify(type)}; only text can be trained on`);
}

function has(row: Fields, key: string): boolean {
  return Object.hasOwn(row, key) && row[key] !== null;
}

function text(row: Fields, key: string): string {
  const value = row[key];
  if (typeof value !== "string")
    throw new UserError(`${key} must be a string, not ${value === null ? "null" : typeof value}`);
  return value;
}

function answer(row: Fields, key: string): string {
  const value = text(row, key);
  if (value.trim() === "") throw new UserError(`${key} is empty: there is nothing to learn from it`);
  return value;
}
