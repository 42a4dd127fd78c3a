import { writeFile } from "node:fs/promises";
import { createInterface } from "node:readline/promises";
import { interruptible } from "../node/signals.js";
import { type GenerateTextOptions, generate } from "../recipes/generate.js";
import type { LoadedAdapter, LoadedModel } from "../recipes/model.js";
import { nearest, UserError } from "../tensor/errors.js";
import type { Message } from "../tokenizers/chat-template.js";
import { type Action, EXIT, type Io } from "./io.js";
import { samplingOptions, withModel, withWarnings } from "./model-options.js";

/** A conversation and what it is held with. */
interface Chat {
  readonly model: LoadedModel;
  readonly adapters: Map<string, LoadedAdapter>;
  readonly settings: GenerateTextOptions;
  readonly system: string | undefined;
  active: LoadedAdapter | undefined;
  messages: Message[];
}

interface ChatCommand {
  readonly usage: string;
  readonly help: string;
  /** Returns false to end the chat. */
  run(chat: Chat, argument: string, io: Io): Promise<boolean> | boolean;
}

const go = (io: Io, text: string): boolean => {
  io.err(`${text}\n`);
  return true;
};

/** What a line that begins with a slash does. */
const CHAT_COMMANDS: Readonly<Record<string, ChatCommand>> = {
  help: {
    usage: "/help",
    help: "this list",
    run: (_chat, _argument, io) =>
      go(
        io,
        Object.values(CHAT_COMMANDS)
          .map(({ usage, help }) => `${usage.padEnd(22)}${help}`)
          .join("\n"),
      ),
  },
  adapter: {
    usage: "/adapter [PATH|none]",
    help: "switch to an adapter, or to the bare base; alone: list them",
    run: async (chat, argument, io) => {
      if (!argument) return go(io, adapterList(chat));
      if (argument === "none") chat.active = undefined;
      else chat.active = chat.adapters.get(argument) ?? (await addAdapter(chat, argument, io));
      return go(io, chat.active ? `now with ${chat.active.path}` : "now the bare base");
    },
  },
  compare: {
    usage: "/compare TEXT",
    help: "answers of the base and of every adapter, without keeping them",
    run: async (chat, argument, io) => {
      if (!argument) return go(io, "say what to answer: /compare TEXT");
      for (const adapter of [undefined, ...chat.adapters.values()]) {
        io.out(`[${adapter?.path ?? "base"}]\n`);
        await answer(chat, [...chat.messages, { role: "user", content: argument }], adapter, io);
      }
      return true;
    },
  },
  reset: {
    usage: "/reset",
    help: "forget the conversation",
    run: (chat, _argument, io) => {
      chat.messages = beginning(chat.system);
      return go(io, "forgotten");
    },
  },
  save: {
    usage: "/save FILE",
    help: "add the conversation to a JSONL file, as a row to train on",
    run: async (chat, argument, io) => {
      if (!argument) return go(io, "say where: /save FILE");
      await writeFile(argument, `${JSON.stringify({ messages: chat.messages })}\n`, { flag: "a" });
      return go(io, `saved to ${argument}`);
    },
  },
  quit: { usage: "/quit", help: "end the chat", run: () => false },
};

export const chat: Action = async (_args, options, io) => {
  const sampling = samplingOptions(options);
  return withModel(options, async (model) => {
    model.chat();
    const system = options.system as string | undefined;
    const state: Chat = {
      model,
      adapters: new Map(),
      settings: sampling,
      system,
      active: undefined,
      messages: beginning(system),
    };
    for (const path of (options.adapter as readonly string[] | undefined) ?? []) {
      state.active = await addAdapter(state, path, io);
    }
    if (process.stdin.isTTY) io.err(`${adapterList(state)}\n/help lists the commands\n`);
    await converse(state, io);
    return EXIT.ok;
  });
};

async function converse(chat: Chat, io: Io): Promise<void> {
  const terminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: terminal ? process.stdout : undefined, prompt: "> " });
  if (terminal) lines.prompt();
  for await (const line of lines) {
    try {
      if (line.trim() && !(await take(chat, line.trim(), io))) break;
    } catch (error) {
      // A mistake ends the answer, not the chat.
      if (!(error instanceof UserError) && (error as NodeJS.ErrnoException).code === undefined) throw error;
      io.err(`lowrank: ${(error as Error).message}\n`);
    }
    if (terminal) lines.prompt();
  }
  lines.close();
}

/** Takes one line: a command, or something to be answered. Returns false to end the chat. */
async function take(chat: Chat, line: string, io: Io): Promise<boolean> {
  const [, name, argument] = /^\/(\S*)\s*(.*)$/.exec(line) ?? [];
  if (name !== undefined) {
    if (Object.hasOwn(CHAT_COMMANDS, name)) return CHAT_COMMANDS[name]!.run(chat, argument!, io);
    const near = nearest(name, Object.keys(CHAT_COMMANDS));
    return go(io, `there is no /${name}${near ? `; did you mean /${near}?` : ""} (/help lists the commands)`);
  }
  const asked: Message[] = [...chat.messages, { role: "user", content: line }];
  const text = await answer(chat, asked, chat.active, io);
  chat.messages = [...asked, { role: "assistant", content: text }];
  return true;
}

/** Streams an answer; Ctrl-C ends the answer, a second one the program. */
async function answer(
  chat: Chat,
  messages: readonly Message[],
  adapter: LoadedAdapter | undefined,
  io: Io,
): Promise<string> {
  const { signal, stop } = interruptible(() => undefined);
  const began = performance.now();
  try {
    const run = generate(chat.model, { messages }, { ...chat.settings, ...(adapter ? { adapter } : {}), signal });
    for await (const piece of run) io.out(piece);
    io.out("\n");
    const { text, tokenIds } = await run.result();
    const rate = tokenIds.length / ((performance.now() - began) / 1000);
    if (io.interactive) io.err(`(${tokenIds.length} tokens, ${rate.toFixed(1)} tokens/s)\n`);
    return text;
  } finally {
    stop();
  }
}

async function addAdapter(chat: Chat, path: string, io: Io): Promise<LoadedAdapter> {
  const adapter = await withWarnings(chat.model, path, io);
  chat.adapters.set(path, adapter);
  return adapter;
}

function adapterList(chat: Chat): string {
  const mark = (active: boolean) => (active ? "*" : " ");
  const names = [...chat.adapters].map(([path, adapter]) => `${mark(adapter === chat.active)} ${path}`);
  return [`${mark(!chat.active)} none (${chat.model.name})`, ...names].join("\n");
}

function beginning(system: string | undefined): Message[] {
  return system === undefined ? [] : [{ role: "system", content: system }];
}
