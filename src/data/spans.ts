import type { ChatRequest, ChatTemplate, Message, RenderedChat } from "../tokenizers/chat-template.js";

/** A conversation as text with the characters [start, end) that its assistant writes, or why it cannot be had. */
export type SpannedChat = RenderedChat | { readonly error: string };

type Outcome = RenderedChat | { readonly error: string };

/**
 * Renders conversations and finds what the assistant writes in each: of every assistant turn, or of the `last` one.
 * A template with `{% generation %}` says it itself. With any other, a turn begins where the conversation before it,
 * rendered with the generation prompt, ends, and ends where the conversation up to it ends: exactly what the model will
 * be given, and what it has to write. That needs both to be beginnings of the whole; a template for which they are not
 * (one that rewrites earlier turns) is refused, naming the turn.
 */
export async function renderWithSpans(
  chat: ChatTemplate,
  conversations: readonly ChatRequest[],
  turns: "all" | "last",
): Promise<SpannedChat[]> {
  if (chat.marksAssistant) {
    const results = await chat.renderMany(conversations);
    return results.map((result) => ("error" in result ? refused(result.error) : pick(result, turns)));
  }
  const plans = conversations.map(({ messages }) => assistantTurns(messages, turns));
  const requests = conversations.flatMap((conversation, i) => [
    conversation,
    ...plans[i]!.flatMap((turn) => cuts(conversation, turn)),
  ]);
  const results = await chat.renderMany(requests);
  let at = 0;
  return conversations.map((_, i) => {
    const whole = results[at++]!;
    const parts = plans[i]!.map((turn) => ({ turn, before: results[at++]!, through: results[at++]! }));
    return joinParts(whole, parts);
  });
}

function assistantTurns(messages: readonly Message[], turns: "all" | "last"): number[] {
  const all = messages.flatMap((message, i) => (message.role === "assistant" ? [i] : []));
  return turns === "all" ? all : all.slice(-1);
}

const refused = (error: string) => ({ error: `the chat template refuses it: ${error}` });

/** The conversation before a turn, as the model will be asked for it, and the conversation through that turn. */
function cuts(conversation: ChatRequest, turn: number): ChatRequest[] {
  const { messages } = conversation;
  return [
    { ...conversation, messages: messages.slice(0, turn), addGenerationPrompt: true },
    { ...conversation, messages: messages.slice(0, turn + 1) },
  ];
}

function joinParts(whole: Outcome, parts: readonly { turn: number; before: Outcome; through: Outcome }[]): SpannedChat {
  if ("error" in whole) return refused(whole.error);
  const spans: [number, number][] = [];
  for (const { turn, before, through } of parts) {
    const failed = [before, through].find((part) => "error" in part);
    if (failed && "error" in failed)
      return { error: `the chat template refuses the part up to turn ${turn}: ${failed.error}` };
    const [from, to] = [(before as RenderedChat).text, (through as RenderedChat).text];
    if (!whole.text.startsWith(from) || !whole.text.startsWith(to) || to.length < from.length) {
      if (turn === 0)
        return {
          error: "it begins with an assistant turn, which the chat template cannot ask for; put a user turn first",
        };
      return {
        error: `the chat template writes turn ${turn} differently when more turns follow or when an answer is asked for, so what the model would write there is unknown; use train_on: last, or a template with {% generation %}`,
      };
    }
    spans.push([from.length, to.length]);
  }
  return { text: whole.text, spans };
}

function pick(result: RenderedChat, turns: "all" | "last"): SpannedChat {
  if (result.spans.length === 0) return { error: "the chat template's {% generation %} covers none of its turns" };
  return turns === "all" ? result : { text: result.text, spans: result.spans.slice(-1) };
}
