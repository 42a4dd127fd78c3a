import { createInterface } from "node:readline/promises";
import { openHistory } from "./history.js";
import type { Io } from "./io.js";

/** What somebody types into a chat. */
export interface ChatInput {
  /** One message or command after another, until the input ends. Several lines make one message, see `joinLines`. */
  messages(): AsyncGenerator<string>;
  /** Runs `answer` with a signal that Ctrl-C aborts; the chat goes on. */
  answering<T>(answer: (signal: AbortSignal) => Promise<T>): Promise<T>;
  close(): void;
}

const FIRST = "> ";
const NEXT = "... ";

/** Reads from a terminal, with history and editing, or lines from a pipe. */
export async function openChatInput(io: Io): Promise<ChatInput> {
  const terminal = process.stdin.isTTY === true;
  const history = terminal ? await openHistory() : undefined;
  const lines = createInterface({
    input: process.stdin,
    ...(terminal ? { output: process.stdout, history: history!.lines, historySize: 1000 } : {}),
    prompt: FIRST,
  });
  const joining = joinLines();
  // From the key that ends a line on, Ctrl-C is meant for the answer.
  let stop: AbortController | undefined;
  lines.on("line", () => void (stop ??= new AbortController()));
  const prompt = (text: string) => {
    lines.setPrompt(text);
    if (terminal && !stop) lines.prompt();
  };
  // In a terminal's raw mode Ctrl-C is a key, not a signal.
  lines.on("SIGINT", () => {
    if (stop) return stop.abort();
    const empty = lines.line === "" && !joining.open;
    joining.drop();
    // Ctrl-E, Ctrl-U: to the line's end, and all before it away.
    lines.write(null, { ctrl: true, name: "e" });
    lines.write(null, { ctrl: true, name: "u" });
    io.err(empty ? "\n(Ctrl-D or /quit ends the chat)\n" : "\n");
    prompt(FIRST);
  });
  return {
    async *messages() {
      prompt(FIRST);
      for await (const line of lines) {
        if (line.trim()) await history?.add(line);
        const message = joining.push(line);
        if (message !== undefined && message.trim() !== "") yield message;
        stop = undefined;
        prompt(joining.open ? NEXT : FIRST);
      }
      const rest = joining.drop();
      if (rest.trim()) yield rest;
    },
    answering: (answer) => answer((stop ??= new AbortController()).signal),
    close: () => lines.close(),
  };
}

/**
 * Joins lines to messages: one that ends with a backslash goes on in the next, and `"""` begins and ends a block of lines, which
 * are taken as they are.
 */
export function joinLines(): {
  /** A message, once it is whole. */
  push(line: string): string | undefined;
  /** Whether a message has begun and is not whole. */
  readonly open: boolean;
  /** Gives back what has come of a message, and forgets it. */
  drop(): string;
} {
  let parts: string[] = [];
  let block = false;
  const take = () => {
    const text = parts.join("\n");
    parts = [];
    block = false;
    return text;
  };
  return {
    get open() {
      return parts.length > 0 || block;
    },
    drop: take,
    push(line) {
      if (parts.length === 0 && !block && line.trimStart().startsWith(FENCE)) {
        block = true;
        line = line.trimStart().slice(FENCE.length);
        if (line.trim() === "") return undefined;
      }
      const ended = block && line.trimEnd().endsWith(FENCE);
      const goesOn = block ? !ended : line.endsWith("\\");
      const text = ended ? line.trimEnd().slice(0, -FENCE.length) : goesOn && !block ? line.slice(0, -1) : line;
      if (!(ended && text.trim() === "")) parts.push(text);
      return goesOn ? undefined : take();
    },
  };
}

const FENCE = '"""';
