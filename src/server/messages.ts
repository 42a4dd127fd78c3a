import { withParsedArguments } from "../data/call-arguments.js";
import { joinedParts, type Message } from "../tokenizers/chat-template.js";
import type { ApiError } from "./errors.js";
import { refused, shown } from "./fields.js";

type Fields = Readonly<Record<string, unknown>>;

const ROLES: Readonly<Record<string, string>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
};

const OLD_CALLS = "this is what OpenAI had before tools: send tool_calls, and results with the role tool, instead";

/** Fields of a message that ask for something this server does not do. Null, empty or false, they ask for nothing. */
const REFUSED: Fields = {
  function_call: OLD_CALLS,
  audio: "audio is not supported; send its transcript as content",
  images: "images are not supported; this server takes text",
  prefix: "an answer that goes on from a message is not supported",
  partial: "an answer that goes on from a message is not supported",
};

/** Fields that reach the template beside role and content. */
const PASSED = ["name", "reasoning_content"] as const;

/**
 * The messages of a request, as templates read them. What nobody knows in a message is left out, as OpenAI does: clients send
 * back what they were given, and keep notes of their own in it. Throws ApiError that says which message is wrong, and why.
 */
export function readMessages(value: unknown, most: number): Message[] {
  if (value === undefined || value === null) {
    throw refused("messages", "is missing; expected a list of messages", "missing_required_parameter");
  }
  if (!Array.isArray(value) || value.length === 0) throw wrong("messages", "expected a list of messages", value);
  if (value.length > most) throw wrong("messages", `at most ${most} messages`, value);
  return value.map((one, i) => readMessage(one, `messages[${i}]`));
}

/** One message; `where`: what an error calls it. */
export function readMessage(value: unknown, where: string): Message {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrong(where, 'expected a message such as {"role": "user", "content": "..."}', value);
  }
  const fields = value as Fields;
  const role = readRole(fields.role, `${where}.role`);
  for (const [key, why] of Object.entries(REFUSED)) {
    if (asks(fields[key])) throw refused(`${where}.${key}`, String(why), "unsupported_parameter");
  }
  const calls = role === "assistant" ? readCalls(fields.tool_calls, where) : undefined;
  const content = readContent(fields, role, where);
  const message: Record<string, unknown> = { role, content: calls && content === "" ? null : content };
  if (calls) message.tool_calls = calls;
  if (role === "tool") message.tool_call_id = readCallId(fields.tool_call_id, `${where}.tool_call_id`);
  for (const key of PASSED) {
    const field = fields[key];
    if (field === undefined || field === null) continue;
    if (typeof field !== "string") throw wrong(`${where}.${key}`, "expected a text", field);
    message[key] = field;
  }
  return message as Message;
}

/** Whether a field asks for anything. */
function asks(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== false && value !== "";
}

function readRole(role: unknown, where: string): string {
  const known = "system, developer, user, assistant or tool";
  if (role === undefined) throw refused(where, `is missing; expected ${known}`, "missing_required_parameter");
  if (typeof role === "string" && Object.hasOwn(ROLES, role)) return ROLES[role]!;
  if (role === "function") throw refused(where, `'function': ${OLD_CALLS}`, "unsupported_parameter");
  throw wrong(where, `expected ${known}`, role);
}

/** An assistant's calls, their arguments as JSON values: so templates take them. */
function readCalls(value: unknown, where: string): readonly unknown[] | undefined {
  if (!asks(value)) return undefined;
  const path = `${where}.tool_calls`;
  const example = '{"id": ..., "type": "function", "function": {"name": ..., "arguments": "{...}"}}';
  if (!Array.isArray(value)) throw wrong(path, `expected a list of calls such as ${example}`, value);
  return value.map((call, i) => {
    const { id, type = "function", function: called } = (typeof call === "object" && call ? call : {}) as Fields;
    if (type !== "function") {
      throw refused(
        `${path}[${i}].type`,
        `${shown(type)} calls are not supported; expected function`,
        "unsupported_parameter",
      );
    }
    if (typeof called !== "object" || called === null || typeof (called as Fields).name !== "string") {
      throw wrong(`${path}[${i}]`, `expected a call such as ${example}`, call);
    }
    const { name, arguments: given = {} } = withArguments(called as Fields, `${path}[${i}].function`);
    return {
      ...(asks(id) ? { id: readCallId(id, `${path}[${i}].id`) } : {}),
      type,
      function: { name, arguments: given },
    };
  });
}

function withArguments(called: Fields, where: string): Fields {
  try {
    return withParsedArguments(called);
  } catch (error) {
    throw refused(`${where}.arguments`, (error as Error).message, "invalid_value");
  }
}

function readCallId(id: unknown, where: string): string {
  if (typeof id === "string") return id;
  const expected = "expected the id of a call";
  if (id === undefined || id === null) throw refused(where, `is missing; ${expected}`, "missing_required_parameter");
  throw wrong(where, expected, id);
}

function readContent({ content, refusal }: Fields, role: string, where: string): string {
  const path = `${where}.content`;
  if (typeof content === "string") return content === "" && typeof refusal === "string" ? refusal : content;
  if (Array.isArray(content)) return joinedParts(content.map((part, i) => readPart(part, role, `${path}[${i}]`)));
  // An assistant that refused, or said nothing, has no content.
  if (role === "assistant" && (content === null || content === undefined)) {
    return typeof refusal === "string" ? refusal : "";
  }
  const expected = "expected a text or a list of text parts";
  if (content === undefined) throw refused(path, `is missing; ${expected}`, "missing_required_parameter");
  throw wrong(path, expected, content);
}

/** Kinds of parts that OpenAI's reference has and this server does not. */
const PARTS: Readonly<Record<string, string>> = {
  image_url: "images",
  input_image: "images",
  image: "images",
  input_audio: "audio",
  audio: "audio",
  video_url: "videos",
  file: "files",
  input_file: "files",
};

function readPart(value: unknown, role: string, where: string): string {
  const part = (typeof value === "object" && value !== null ? value : {}) as Fields;
  const { type } = part;
  if (type === "text" || (type === "refusal" && role === "assistant")) {
    const text = part[type];
    if (typeof text === "string") return text;
    throw wrong(`${where}.${type}`, "expected a text", text);
  }
  const what = typeof type === "string" && Object.hasOwn(PARTS, type) ? PARTS[type] : undefined;
  const example = 'expected a part such as {"type": "text", "text": "..."}';
  if (what === undefined) throw wrong(typeof type === "string" ? `${where}.type` : where, example, type ?? value);
  throw refused(
    where,
    `${type} parts are not supported: ${what} cannot be read here; ${example}`,
    "unsupported_parameter",
  );
}

function wrong(where: string, expected: string, value: unknown): ApiError {
  return refused(where, `${expected}, got ${shown(value)}`, "invalid_value");
}
