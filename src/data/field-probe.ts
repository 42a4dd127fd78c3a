import type { ChatRequest, ChatTemplate, Message } from "../tokenizers/chat-template.js";
import { isEmpty } from "./fields.js";
import { renderInTrips } from "./spans.js";

/** Conversations that a field is taken out of before it is held to be unread. */
const mostTries = 3;
/** Fields that are tried; no template reads so many, and each costs a rendering. */
const mostFields = 32;

/** A conversation and the text that the template made of it. */
export interface Written {
  readonly request: ChatRequest;
  readonly text: string;
}

/**
 * Finds out which fields of messages, and whether `tools`, a chat template reads: a conversation is rendered without the
 * field, and the same text says that it was not read there.
 */
export interface FieldProbe {
  /** Tries the fields of conversations, each field a few times. */
  look(conversations: readonly Written[]): Promise<void>;
  /** Is one of these fields read in a conversation like this one? Tried until it was, then known. */
  reads(names: readonly string[], conversation: Written): Promise<boolean>;
  /** Names of fields without which the same text was written whenever they were tried. */
  unread(): string[];
}

/** Opens a probe of the template that `chat` gives, which is asked for only when there is something to try. */
export function createFieldProbe(chat: () => ChatTemplate): FieldProbe {
  const tries = new Map<string, number>();
  const read = new Set<string>();
  const readBeside = new Set<string>(); // with and without tools, for which a model may have a template of their own
  const isOpen = (name: string) => {
    const tried = tries.get(name) ?? (tries.size < mostFields ? 0 : mostTries);
    return tried < mostTries && !read.has(name);
  };
  const attempt = async (probes: readonly (Written & { readonly names: readonly string[] })[]) => {
    if (probes.length === 0) return [];
    const requests = probes.map(({ request, names }) => without(request, names));
    const results = await renderInTrips(chat(), requests);
    return probes.map(({ text }, i) => !("text" in results[i]!) || results[i].text !== text);
  };
  return {
    async look(conversations) {
      const probes = conversations.flatMap((conversation) => {
        const names = [...fieldsOf(conversation.request)].filter(isOpen);
        for (const name of names) tries.set(name, (tries.get(name) ?? 0) + 1);
        return names.map((name) => ({ ...conversation, names: [name] }));
      });
      const differs = await attempt(probes);
      for (const [i, { names }] of probes.entries()) if (differs[i]) read.add(names[0]!);
    },
    async reads(names, conversation) {
      const key = JSON.stringify([names, isEmpty(conversation.request.tools)]);
      if (readBeside.has(key)) return true;
      const [differs] = await attempt([{ ...conversation, names }]);
      if (differs) readBeside.add(key);
      return differs!;
    },
    unread: () => [...tries.keys()].filter((name) => !read.has(name)),
  };
}

/** Fields of messages beside role and content, and `tools`, that hold something. */
function fieldsOf({ messages, tools }: ChatRequest): Set<string> {
  const names = new Set(isEmpty(tools) ? [] : ["tools"]);
  for (const message of messages) {
    for (const [name, value] of Object.entries(message)) {
      if (name !== "role" && name !== "content" && !isEmpty(value)) names.add(name);
    }
  }
  return names;
}

function without(request: ChatRequest, names: readonly string[]): ChatRequest {
  const messages = request.messages.map((message) =>
    names.some((name) => Object.hasOwn(message, name))
      ? (Object.fromEntries(Object.entries(message).filter(([key]) => !names.includes(key))) as unknown as Message)
      : message,
  );
  return { ...request, messages, ...(names.includes("tools") ? { tools: [] } : {}) };
}
