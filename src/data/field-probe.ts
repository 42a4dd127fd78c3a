import type { ChatRequest, ChatTemplate, Message, RenderedChat } from "../tokenizers/chat-template.js";
import { isEmpty } from "./fields.js";
import { renderInTrips } from "./spans.js";

/** Conversations that a field is taken out of before it is held to be unread. */
const mostTries = 3;
/** Fields that are tried; no template reads so many, and each costs a rendering. */
const mostFields = 32;

/** Finds out which fields of messages, and whether `tools`, a chat template reads, from conversations that hold them. */
export interface FieldProbe {
  /** Renders conversations without one of their fields, and compares with their text; a few times for each field. */
  look(
    chat: ChatTemplate,
    conversations: readonly { readonly request: ChatRequest; readonly text: string }[],
  ): Promise<void>;
  /** Names of fields without which the same text was written. */
  unread(): string[];
}

export function createFieldProbe(): FieldProbe {
  const tries = new Map<string, number>();
  const read = new Set<string>();
  const isOpen = (name: string) => {
    const tried = tries.get(name) ?? (tries.size < mostFields ? 0 : mostTries);
    return tried < mostTries && !read.has(name);
  };
  return {
    async look(chat, conversations) {
      const probes = conversations.flatMap(({ request, text }) => {
        const names = [...fieldsOf(request)].filter(isOpen);
        for (const name of names) tries.set(name, (tries.get(name) ?? 0) + 1);
        return names.map((name) => ({ name, text, without: without(request, name) }));
      });
      if (probes.length === 0) return;
      const results = await renderInTrips(
        chat,
        probes.map((probe) => probe.without),
      );
      for (const [i, { name, text }] of probes.entries()) {
        if ((results[i] as Partial<RenderedChat>).text !== text) read.add(name);
      }
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

function without(request: ChatRequest, name: string): ChatRequest {
  if (name === "tools") return { ...request, tools: [] };
  const messages = request.messages.map((message) =>
    Object.hasOwn(message, name)
      ? (Object.fromEntries(Object.entries(message).filter(([key]) => key !== name)) as unknown as Message)
      : message,
  );
  return { ...request, messages };
}
