import type { Message } from "../../tokenizers/chat-template.js";
import { refused, shown } from "../fields.js";
import { readMessage } from "../messages.js";
import type { InputItem } from "./wire.js";

type Fields = Readonly<Record<string, unknown>>;

/** Reads one type of item: what it adds to a conversation. */
type Reader = (item: Fields, where: string, conversation: Message[], find: (id: string) => unknown) => void;

const READERS: Readonly<Record<string, Reader>> = {
  message: (item, where, conversation) => {
    const { role, content, name } = item;
    const last = conversation.at(-1) as ThinkingMessage | undefined;
    const message = readMessage({ role, content: asChatParts(content), ...(name ? { name } : {}) }, where);
    // What the model thought stands before the message that it then said.
    if (last?.thoughtOnly && message.role === "assistant") {
      conversation.pop();
      conversation.push({ ...message, reasoning_content: last.reasoning_content } as Message);
    } else conversation.push(message);
  },
  reasoning: (item, where, conversation) => {
    const parts = [...listOf(item.content, `${where}.content`), ...listOf(item.summary, `${where}.summary`)];
    const text = parts
      .map((part) => (part as { text?: unknown } | null)?.text)
      .filter((one) => typeof one === "string");
    if (text.length === 0) return; // an encrypted thought of another server
    const thought = { role: "assistant", content: "", reasoning_content: text.join("\n"), thoughtOnly: true };
    conversation.push(thought as unknown as Message);
  },
  function_call: ({ call_id, name, arguments: given }, where, conversation) => {
    const call = { id: call_id, type: "function", function: { name, arguments: given } };
    const message = readMessage({ role: "assistant", content: null, tool_calls: [call] }, where) as CallingMessage;
    const last = conversation.at(-1) as CallingMessage | undefined;
    if (last?.role !== "assistant") return void conversation.push(message);
    // What one answer thinks, says and calls is one message.
    const { thoughtOnly: _, ...said } = last as CallingMessage & ThinkingMessage;
    const calls = [...(said.tool_calls ?? []), ...message.tool_calls!];
    conversation[conversation.length - 1] = { ...said, tool_calls: calls } as Message;
  },
  function_call_output: ({ call_id, output }, where, conversation) => {
    conversation.push(readMessage({ role: "tool", tool_call_id: call_id, content: asChatParts(output) }, where));
  },
  item_reference: (item, where, conversation, find) => {
    const { id } = item;
    const found = typeof id === "string" ? find(id) : undefined;
    if (!found) {
      const why = `there is no item ${shown(id)}; items are kept as long as their response is`;
      throw refused(`${where}.id`, why, "invalid_value");
    }
    readItem(found, where, conversation, find);
  },
};

type CallingMessage = Message & { readonly tool_calls?: readonly unknown[] };

interface ThinkingMessage {
  readonly thoughtOnly?: boolean;
  readonly reasoning_content?: string;
}

/**
 * The messages that a request's input stands for: a text, or items. `find` knows items by their ids. Throws ApiError that says which
 * item is wrong, and why.
 */
export function readItems(input: string | readonly unknown[], find: (id: string) => unknown): Message[] {
  if (typeof input === "string") return [{ role: "user", content: input }];
  const conversation: Message[] = [];
  for (const [i, item] of input.entries()) readItem(item, `input[${i}]`, conversation, find);
  return conversation.map((message) => {
    const { thoughtOnly, ...rest } = message as Message & ThinkingMessage;
    return thoughtOnly === undefined ? message : (rest as Message);
  });
}

function readItem(value: unknown, where: string, conversation: Message[], find: (id: string) => unknown): void {
  const example = 'expected an item such as {"role": "user", "content": "..."}';
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw refused(where, `${example}, got ${shown(value)}`, "invalid_value");
  }
  const { type = "message" } = value as Fields;
  const reader = typeof type === "string" && Object.hasOwn(READERS, type) ? READERS[type] : undefined;
  if (reader) {
    reader(value as Fields, where, conversation, find);
    return;
  }
  const known = Object.keys(READERS).join(", ");
  throw refused(`${where}.type`, `${shown(type)} items are not supported; known are ${known}`, "unsupported_parameter");
}

function listOf(value: unknown, where: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  throw refused(where, `expected a list, got ${shown(value)}`, "invalid_value");
}

/** Parts of text as /v1/chat/completions calls them. */
function asChatParts(content: unknown): unknown {
  if (!Array.isArray(content)) return content;
  return content.map((part) => {
    const { type } = (typeof part === "object" && part !== null ? part : {}) as Fields;
    return type === "input_text" || type === "output_text" ? { ...part, type: "text" } : part;
  });
}

/** The items of an input as they are kept: each with an id, and its content as parts. */
export function keptItems(input: string | readonly unknown[], newId: (prefix: string) => string): InputItem[] {
  const list = typeof input === "string" ? [{ role: "user", content: input }] : (input as readonly Fields[]);
  return list.flatMap((item) => {
    if (item.type === "item_reference") return [];
    const { type = "message", id = newId("msg"), content, ...rest } = item;
    if (typeof content !== "string") return [{ ...rest, ...(content ? { content } : {}), type, id } as InputItem];
    const part = { type: rest.role === "assistant" ? "output_text" : "input_text", text: content };
    return [{ ...rest, type, id, status: "completed", content: [part] } as InputItem];
  });
}
