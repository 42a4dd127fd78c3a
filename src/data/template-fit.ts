import type { Message } from "../tokenizers/chat-template.js";
import type { FieldProbe, Written } from "./field-probe.js";
import { isEmpty } from "./fields.js";
import { isAssistant } from "./row.js";
import { callFields } from "./turns.js";

/** Turns that say nothing but call functions, with the fields that they do it in. */
function bareCalls(messages: readonly Message[]): { readonly turn: number; readonly calls: readonly string[] }[] {
  return messages.flatMap((message, turn) => {
    const calls = [...callFields].filter((name) => !isEmpty(message[name]));
    return calls.length > 0 && (message.content ?? "").trim() === "" ? [{ turn, calls }] : [];
  });
}

/** What to add to an error of a template where it may come of a turn that only calls functions. */
export function aboutCalls(messages: readonly Message[]): string {
  const [bare] = bareCalls(messages);
  if (!bare) return "";
  return `. Message ${bare.turn} says nothing but ${bare.calls.join(" and ")} (in ShareGPT: function_call): the template has to write tool calls for that`;
}

/** Why a conversation cannot be had: the template writes nothing of a turn's calls, and the model would learn to be silent. */
export async function silentTurn(written: Written, probe: FieldProbe): Promise<string | undefined> {
  for (const { turn, calls } of bareCalls(written.request.messages)) {
    if (await probe.reads(calls, written)) continue;
    return `message ${turn} says nothing but ${calls.join(" and ")} (in ShareGPT: function_call), which the chat template does not write: the turn would be empty; write the call as tool_calls, or into the content`;
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
