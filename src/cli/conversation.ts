import { systemMessages } from "../data/chat-row.js";
import { asObject, openFields } from "../data/fields.js";
import { jsonValue } from "../data/json-value.js";
import { nodeFiles } from "../node/files.js";
import { readChunks } from "../platform/platform.js";
import { UserError } from "../tensor/errors.js";
import { joinedParts, type Message } from "../tokenizers/chat-template.js";

/** What a model is asked, with the tools that the template shows it. */
export interface Conversation {
  readonly messages: readonly Message[];
  readonly tools?: readonly unknown[];
}

/** A path that means standard input, as for other programs. */
const STDIN = "-";

/** The bytes of a file, or of standard input for `-`. Throws UserError when it cannot be read. */
export function bytesOf(path: string): AsyncIterable<Uint8Array> {
  return path === STDIN ? process.stdin : readChunks(nodeFiles, path);
}

/** The value of a file, or of standard input, that holds JSON; numbers stay as they are written. */
export async function readJsonFile(path: string): Promise<unknown> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of bytesOf(path)) chunks.push(chunk);
  try {
    return jsonValue(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)));
  } catch (error) {
    throw new UserError(`${path}: cannot be read as JSON: ${(error as Error).message}`);
  }
}

/**
 * Checks that a value is a conversation: a list of messages, or an object with them in `messages` and, as in training rows,
 * `tools` and `system` beside them. Text parts are joined to one text; other fields of a message stay as they are. `unused`
 * is told the names of what nothing reads. Throws UserError naming `where` and the message otherwise.
 */
export function readConversation(value: unknown, where: string, unused: (name: string) => void): Conversation {
  const fields = openFields(isObject(value) ? value : { messages: value }, `${where}: `);
  const list = fields.value("messages");
  if (!Array.isArray(list) || list.length === 0)
    throw new UserError(
      `${where}: expected a list of {"role": ..., "content": ...}, or an object with such a list in messages`,
    );
  const messages = list.map((message, i) => checkMessage(message, `${where}: messages[${i}]`));
  const tools = fields.list("tools") ?? [];
  for (const [i, tool] of tools.entries()) asObject(tool, `${where}: tools[${i}]`);
  if (isDeep(tools)) throw new UserError(`${where}: tools: its values are nested too deep`);
  const system = systemMessages(fields.optionalText("system"), messages[0], `${where}: `);
  for (const [name] of fields.unused()) unused(name);
  return { messages: [...system, ...messages], ...(tools.length > 0 ? { tools } : {}) };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function checkMessage(value: unknown, where: string): Message {
  const message = value as { role?: unknown; content?: unknown; tool_calls?: unknown } | null;
  if (typeof message !== "object" || message === null || typeof message.role !== "string")
    throw new UserError(`${where}: expected an object with a role, got ${shown(value)}`);
  if (isDeep(message)) throw new UserError(`${where}: its values are nested too deep`);
  return { ...message, role: message.role, content: contentOf(message, where) };
}

function contentOf({ role, content, tool_calls: calls }: Record<string, unknown>, where: string): string | null {
  if (typeof content === "string") return content;
  if (Array.isArray(content)) return joinedParts(content.map((part, i) => textOf(part, `${where}.content[${i}]`)));
  if ((content ?? null) === null && role === "assistant" && Array.isArray(calls) && calls.length > 0) return null;
  throw new UserError(`${where}.content: expected a text or a list of text parts, got ${shown(content)}`);
}

function textOf(part: unknown, where: string): string {
  if (typeof part === "string") return part;
  const { type, text } = (part ?? {}) as { type?: unknown; text?: unknown };
  if (type === "text" && typeof text === "string") return text;
  throw new UserError(
    `${where}: expected {"type": "text", "text": ...}, got ${shown(part)}; the model reads text only`,
  );
}

/** A value in a few characters; what is missing is said so. */
function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "object" && value !== null && isDeep(value)) return "deeply nested values";
  const text = JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}...` : text;
}

const DEEPEST = 64;

function isDeep(value: object): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DEEPEST) return true;
    level = level.flatMap((item) => (typeof item === "object" && item !== null ? Object.values(item) : []));
  }
  return false;
}
