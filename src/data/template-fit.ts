import type { Message } from "../tokenizers/chat-template.js";
import { isEmpty } from "./fields.js";
import { isAssistant } from "./row.js";
import { callFields } from "./turns.js";

const known = new Map<string, ReadonlySet<string>>();

/** The words of a template's source: a field that is not among them is not read by its name. */
export function templateWords(source: string): ReadonlySet<string> {
  let words = known.get(source);
  if (!words) {
    known.clear(); // one at a time: a run has one template
    known.set(source, (words = new Set(source.match(/[\p{L}\p{N}_]+/gu))));
  }
  return words;
}

/** Why a conversation would teach silence: a turn that only calls functions, which the template does not write. */
export function silentTurn(messages: readonly Message[], source: string): string | undefined {
  for (const [i, message] of messages.entries()) {
    const calls = [...callFields].filter((name) => !isEmpty(message[name]));
    if (calls.length === 0 || (message.content ?? "").trim() !== "") continue;
    if (calls.some((name) => templateWords(source).has(name))) continue;
    return `message ${i} says nothing but ${calls.join(" and ")} (in ShareGPT: function_call), which the chat template does not write: the turn would be empty. Use a template that writes tool calls (tool_calls), or write the call into the content`;
  }
  return undefined;
}

/** Messages of one conversation that are looked for in vain, at most. */
const mostMissed = 4;

/** Roles whose messages the template left out of a text, the assistant's apart: what they say is nowhere in it. */
export function unwrittenRoles(text: string, messages: readonly Message[]): readonly string[] {
  const missed: string[] = [];
  let at = 0;
  for (const message of messages) {
    const said = (message.content ?? "").trim();
    if (isAssistant(message) || said === "") continue;
    const found = text.indexOf(said, at);
    if (found >= 0) at = found + said.length;
    else if (!isWritten(text, said) && missed.push(message.role) === mostMissed) break;
  }
  return missed;
}

/** Is this in the text anywhere, also as JSON has it? Templates write what tools say through tojson. */
export function isWritten(text: string, said: string): boolean {
  return text.includes(said) || text.includes(JSON.stringify(said).slice(1, -1));
}

/** Does a template write a call's arguments with `tojson` whatever they are, so that text comes out quoted? */
export function quotesArguments(source: string): boolean {
  return /arguments['"\]]*\s*\|\s*tojson/.test(source) && !/arguments['"\]]*\s+is\s+(string|mapping)/.test(source);
}
