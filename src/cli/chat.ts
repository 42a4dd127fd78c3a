import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { interruptible } from "../node/signals.js";
import { type AdapterRegistry, createAdapterRegistry } from "../recipes/adapter-registry.js";
import { type GenerateTextOptions, generate } from "../recipes/generate.js";
import { nearest, UserError } from "../tensor/errors.js";
import type { Message } from "../tokenizers/chat-template.js";
import { type ChatInput, openChatInput } from "./chat-input.js";
import { sideBySide } from "./columns.js";
import { type Action, EXIT, exactOut, type Io } from "./io.js";
import { nameAndFolder, namedAdapters, samplingOptions, withModel } from "./model-options.js";
import { expandHome } from "./paths.js";

/** A conversation and what it is held with. */
interface Chat {
  readonly input: ChatInput;
  readonly registry: AdapterRegistry;
  readonly settings: GenerateTextOptions;
  readonly system: string | undefined;
  /** The adapter's name; undefined: the bare base. */
  active: string | undefined;
  messages: Message[];
}

interface ChatCommand {
  readonly usage: string;
  readonly help: string;
  /** Returns false to end the chat. */
  run(chat: Chat, argument: string, io: Io): Promise<boolean> | boolean;
}

const silent = (io: Io): Io => ({
  ...io,
  columns: io.columns,
  out: () => {},
  raw: { ...(io.raw ?? io), out: () => {} },
});

const go = (io: Io, text: string): boolean => {
  io.err(`${text}\n`);
  return true;
};

const KEYS = [
  `${"\\ at the end of a line".padEnd(30)}the message goes on in the next line`,
  `${'""" ... """'.padEnd(30)}a message of several lines`,
  `${"Ctrl-C".padEnd(30)}stops the answer, or clears the line`,
  `${"Ctrl-D".padEnd(30)}ends the chat`,
];

/** What a line that begins with a slash does. */
const CHAT_COMMANDS: Readonly<Record<string, ChatCommand>> = {
  help: {
    usage: "/help",
    help: "this list",
    run: (_chat, _argument, io) =>
      go(
        io,
        Object.values(CHAT_COMMANDS)
          .map(({ usage, help }) => `${usage.padEnd(30)}${help}`)
          .concat(KEYS)
          .join("\n"),
      ),
  },
  adapter: {
    usage: "/adapter [NAME|FOLDER|none]",
    help: "switch to an adapter, or to the bare base; alone: list them",
    run: async (chat, argument, io) => {
      if (!argument) return go(io, adapterList(chat));
      if (argument === "none") chat.active = undefined;
      else if (chat.registry.names().includes(argument)) chat.active = argument;
      else await addAdapter(chat, argument, io);
      return go(io, chat.active === undefined ? "now the bare base" : `now with ${chat.active}`);
    },
  },
  scale: {
    usage: "/scale NUMBER",
    help: "multiply the adapter's effect: 1 as trained, 0 the bare base",
    run: (chat, argument, io) => {
      if (chat.active === undefined) return go(io, "the bare base has nothing to scale (/adapter)");
      chat.registry.scale(chat.active, argument ? Number(argument) : Number.NaN);
      return go(io, `${chat.active} now counts ${argument} times`);
    },
  },
  compare: {
    usage: "/compare TEXT",
    help: "answers of the base and of every adapter side by side, without keeping them",
    run: async (chat, argument, io) => {
      if (!argument) return go(io, "say what to answer: /compare TEXT");
      const texts: { title: string; text: string }[] = [];
      for (const name of [undefined, ...chat.registry.names()]) {
        const asked = [...chat.messages, { role: "user", content: argument }];
        const { text, aborted } = await answer(chat, asked, name, silent(io));
        if (aborted) return true;
        texts.push({ title: name ?? "base", text });
      }
      io.out(sideBySide(texts, io.columns));
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
      await writeFile(expandHome(argument), `${JSON.stringify({ messages: chat.messages })}\n`, { flag: "a" });
      return go(io, `saved to ${argument}`);
    },
  },
  quit: { usage: "/quit", help: "end the chat", run: () => false },
};

/** Memory for the conversation so far, which every answer goes on from. */
const KEPT_BYTES = 2 ** 29;

export const chat: Action = async (_args, options, io) => {
  const sampling = samplingOptions(options);
  const adapters = namedAdapters(options);
  return withModel(options, io, async (model) => {
    model.chat();
    const system = options.system as string | undefined;
    const registry = createAdapterRegistry(model);
    model.decoder.prefixes.most = KEPT_BYTES;
    for (const [name, path] of adapters) await loadAdapter(registry, name, path, io);
    const [active] = adapters.keys();
    // Last: lines that came before somebody listens would be lost.
    const input = await openChatInput(io);
    const state: Chat = { input, registry, settings: sampling, system, active, messages: beginning(system) };
    if (process.stdin.isTTY) io.err(`${adapterList(state)}\n/help lists the commands\n`);
    await converse(state, io);
    return EXIT.ok;
  });
};

async function converse(chat: Chat, io: Io): Promise<void> {
  const { input } = chat;
  const end = () => input.close();
  for (const name of ENDS) process.on(name, end);
  try {
    for await (const message of input.messages()) {
      try {
        if (!(await take(chat, message, io))) break;
      } catch (error) {
        // A mistake ends the answer, not the chat.
        if (!(error instanceof UserError) && (error as NodeJS.ErrnoException).code === undefined) throw error;
        io.err(`lowrank: ${(error as Error).message}\n`);
      }
    }
  } finally {
    for (const name of ENDS) process.off(name, end);
    input.close();
  }
}

/** Signals that end the chat; an answer in progress is stopped. */
const ENDS = ["SIGTERM", "SIGHUP"] as const;

/** Takes a command, or something to be answered. Returns false to end the chat. */
async function take(chat: Chat, message: string, io: Io): Promise<boolean> {
  const [, name, argument] = /^\/(\S*)\s*(.*)$/s.exec(message.trim()) ?? [];
  if (name !== undefined) {
    if (Object.hasOwn(CHAT_COMMANDS, name)) return CHAT_COMMANDS[name]!.run(chat, argument!, io);
    const near = nearest(name, Object.keys(CHAT_COMMANDS));
    return go(io, `there is no /${name}${near ? `; did you mean /${near}?` : ""} (/help lists the commands)`);
  }
  const asked: Message[] = [...chat.messages, { role: "user", content: message }];
  const { text, aborted } = await answer(chat, asked, chat.active, io);
  // What was said until Ctrl-C is kept; a question without any answer is not.
  if (text !== "" || !aborted) chat.messages = [...asked, { role: "assistant", content: text }];
  return true;
}

/** Streams an answer; Ctrl-C ends it, and the chat goes on. */
async function answer(
  chat: Chat,
  messages: readonly Message[],
  name: string | undefined,
  io: Io,
): Promise<{ text: string; aborted: boolean }> {
  const lease = name === undefined ? undefined : chat.registry.lease(name);
  // Where the terminal is not in raw mode, as in a pipe, Ctrl-C and SIGTERM come as signals.
  const { signal: ended, stop } = interruptible(() => undefined);
  const began = performance.now();
  const out = exactOut(io);
  try {
    return await chat.input.answering(async (stopped) => {
      const options = { ...chat.settings, adapter: lease?.adapter, signal: AbortSignal.any([ended, stopped]) };
      const run = generate(chat.registry.model, { messages }, options);
      for await (const piece of run) out(piece);
      out("\n");
      const { text, tokenIds, finishReason } = await run.result();
      const aborted = finishReason === "abort";
      const rate = tokenIds.length / ((performance.now() - began) / 1000);
      if (io.interactive)
        io.err(`(${aborted ? "stopped; " : ""}${tokenIds.length} tokens, ${rate.toFixed(1)} tokens/s)\n`);
      return { text, aborted };
    });
  } finally {
    stop();
    lease?.release();
  }
}

async function loadAdapter(registry: AdapterRegistry, name: string, path: string, io: Io): Promise<void> {
  const { warnings } = await registry.load(name, path);
  for (const warning of warnings) io.err(`lowrank: ${warning}\n`);
}

/** Loads and takes `NAME=FOLDER`, or a folder. Throws UserError naming the adapter that may have been meant. */
async function addAdapter(chat: Chat, argument: string, io: Io): Promise<void> {
  const [name, path] = nameAndFolder(expandHome(argument));
  const near = existsSync(path) ? undefined : nearest(argument, chat.registry.names());
  if (near) throw new UserError(`'${argument}' is no adapter here and no folder; did you mean ${near}?`);
  await loadAdapter(chat.registry, name, path, io);
  chat.active = name;
}

function adapterList({ registry, active }: Chat): string {
  const line = (name: string | undefined, text: string) => `${name === active ? "*" : " "} ${text}`;
  return [line(undefined, `none (${registry.model.name})`), ...registry.names().map((name) => line(name, name))].join(
    "\n",
  );
}

function beginning(system: string | undefined): Message[] {
  return system === undefined ? [] : [{ role: "system", content: system }];
}
