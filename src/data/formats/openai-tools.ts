import { UserError } from "../../tensor/index.js";
import type { Message } from "../../tokenizers/chat-template.js";
import { withParsedArguments } from "../call-arguments.js";
import { readConversation } from "../chat-row.js";
import { has, type JsonObject } from "../fields.js";
import type { Format } from "./format.js";

/** OpenAI's rows with tools: calls have their arguments as JSON text, and chat templates take them as objects. */
export const openaiTools: Format = {
  shape:
    '{"messages": [..., {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "...", "arguments": "{...}"}}]}], "tools": [...]}',
  needs: ["messages"],
  takes: ["system", "tools"],
  tells: (row) => has(row, "parallel_tool_calls") || (Array.isArray(row.messages) && row.messages.some(callsByText)),
  read: (fields, seen) => {
    const row = readConversation(fields, "messages", { unused: seen.unused, textArguments: false });
    return { ...row, messages: row.messages.map(withParsedCalls) };
  },
  trainOn: ["assistant", "last", "all"],
};

type Call = JsonObject & { readonly function?: JsonObject };

const isObject = (value: unknown): value is JsonObject => typeof value === "object" && value !== null;

function callsByText(message: unknown): boolean {
  const calls = isObject(message) && Array.isArray(message.tool_calls) ? message.tool_calls : [];
  return calls.some((call) => isObject(call) && isObject(call.function) && typeof call.function.arguments === "string");
}

function withParsedCalls(message: Message, index: number): Message {
  const calls = message.tool_calls as readonly Call[] | undefined;
  if (!calls) return message;
  const parsed = calls.map((call, i) =>
    call.function
      ? {
          ...call,
          function: at(`messages[${index}].tool_calls[${i}].function.`, () => withParsedArguments(call.function!)),
        }
      : call,
  );
  return { ...message, tool_calls: parsed };
}

/** Says where it was in an error. */
function at<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new UserError(where + (error as Error).message);
  }
}
