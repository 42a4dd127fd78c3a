import { UserError } from "../tensor/index.js";
import type { Message } from "../tokenizers/chat-template.js";
import { asObject, type Fields } from "./fields.js";
import { type ChatRow, isAssistant } from "./row.js";
import { shown } from "./shown.js";
import { readTurns, type SeenFields, type Turn } from "./turns.js";

/** The conversation in the field `key` of a row, with `system` and `tools` of its own. */
export function readConversation(fields: Fields, key: string, seen: SeenFields): ChatRow {
  const list = fields.list(key);
  if (!list || list.length === 0) throw new UserError(`${key} must be a list of turns`);
  const row = chatRow(fields, readTurns(list, key, seen), 0);
  if (!row.messages.some(isAssistant)) throw new UserError(`${key} has no assistant turn${rolesOf(row.messages)}`);
  return row;
}

/** Which roles there are, for a message: other names than "assistant" are what is wrong most often. */
function rolesOf(messages: readonly Message[]): string {
  const roles = [...new Set(messages.map(({ role }) => role))].slice(0, 8);
  return `; its roles are ${roles.map((role) => shown(role)).join(", ")}, and "assistant" was expected`;
}

/** A conversation from turns and from what a row says beside them. */
export function chatRow(fields: Fields, turns: readonly Turn[], completion: number): ChatRow {
  const tools = fields.list("tools");
  for (const [i, tool] of (tools ?? []).entries()) asObject(tool, `tools[${i}]`);
  const own = systemMessages(fields.optionalText("system"), turns[0]?.message);
  const system = own.map((message): Turn => ({ message, weight: undefined }));
  const all = [...system, ...turns];
  return {
    kind: "chat",
    messages: all.map(({ message }) => message),
    ...(tools ? { tools } : {}),
    completion: completion > 0 ? completion + system.length : 0,
    muted: new Set(all.flatMap(({ weight }, i) => (weight === 0 ? [i] : []))),
  };
}

/** A row's own system prompt as a turn, unless the conversation begins with the same one. */
export function systemMessages(system: string, first: Message | undefined, where = ""): Message[] {
  if (system === "") return [];
  if (first?.role !== "system" && first?.role !== "developer") return [{ role: "system", content: system }];
  if (first.content === system) return [];
  throw new UserError(
    `${where}system says one thing and the conversation's first turn, a system prompt too, another; keep one`,
  );
}
