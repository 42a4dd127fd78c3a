import type { ChatRequest, Message } from "../tokenizers/chat-template.js";
import { isAssistant } from "./row.js";

/** Where messages stand in a text: index of a message -> its characters [start, end), without white space around them. */
export type Anchors = ReadonlyMap<number, readonly [start: number, end: number]>;

// Noncharacters: Unicode keeps them for use inside a program.
const startMark = "\ufdd2";
const endMark = "\ufdd3";

type Spoken = Message & { readonly content: string };

/** Is a message put between marks? Those that say nothing only where `blank` is asked for. */
const isMarked = (message: Message, blank: boolean): message is Spoken =>
  !isAssistant(message) && typeof message.content === "string" && (blank || message.content.trim() !== "");

/** The conversation with marks around what all but the assistant say, inside the white space that templates may trim. */
export function withMarks(conversation: ChatRequest, blank: boolean): ChatRequest {
  const messages = conversation.messages.map((message) => {
    if (!isMarked(message, blank)) return message;
    const core = message.content.trim();
    const from = message.content.indexOf(core);
    const [before, after] = [message.content.slice(0, from), message.content.slice(from + core.length)];
    return { ...message, content: `${before}${startMark}${core}${endMark}${after}` };
  });
  return { ...conversation, messages };
}

/**
 * Reads the marks off a rendering. There are no anchors at all unless it is `text` but for its marks, and holds what every
 * marked message says, whole and in order: a template that looks into messages, drops or moves them, is not trusted here.
 */
export function readAnchors(text: string, marked: string, messages: readonly Message[], blank: boolean): Anchors {
  const anchors = new Map<number, readonly [number, number]>();
  let plain = "";
  let at = 0;
  for (const [i, message] of messages.entries()) {
    if (!isMarked(message, blank)) continue;
    const core = message.content.trim();
    const open = marked.indexOf(startMark, at);
    const said = `${startMark}${core}${endMark}`;
    if (open < 0 || !marked.startsWith(said, open)) return new Map();
    plain += marked.slice(at, open) + core;
    anchors.set(i, [plain.length - core.length, plain.length]);
    at = open + said.length;
  }
  return plain + marked.slice(at) === text ? anchors : new Map();
}
