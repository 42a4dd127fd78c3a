import { nodeFiles } from "../node/files.js";
import { readChunks } from "../recipes/platform.js";
import { UserError } from "../tensor/errors.js";
import { joinedParts, type Message } from "../tokenizers/chat-template.js";

/** A path that means standard input, as for other programs. */
const STDIN = "-";

/** The bytes of a file, or of standard input for `-`. Throws UserError when it cannot be read. */
export function bytesOf(path: string): AsyncIterable<Uint8Array> {
  return path === STDIN ? process.stdin : readChunks(nodeFiles, path);
}

/** Reads a conversation from a file or standard input: a JSON list of messages, or an object with `messages`. */
export async function readMessages(path: string): Promise<Message[]> {
  let value: unknown;
  try {
    const chunks: Uint8Array[] = [];
    for await (const chunk of bytesOf(path)) chunks.push(chunk);
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${path}: cannot be read as JSON: ${(error as Error).message}`);
  }
  return checkMessages(value, path);
}

/**
 * Checks that a value is a conversation. Text parts are joined to one text, as for training rows; other fields stay as they
 * are. Throws UserError naming `where` and the message otherwise.
 */
export function checkMessages(value: unknown, where: string): Message[] {
  const list = Array.isArray(value) ? value : (value as { messages?: unknown } | null)?.messages;
  if (!Array.isArray(list) || list.length === 0)
    throw new UserError(
      `${where}: expected a list of {"role": ..., "content": ...}, or an object with such a list in messages`,
    );
  return list.map((message, i) => checkMessage(message, `${where}: messages[${i}]`));
}

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
