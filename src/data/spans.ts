import type { ChatRequest, ChatTemplate, Message, RenderedChat } from "../tokenizers/chat-template.js";
import { type Anchors, readAnchors, withMarks } from "./anchors.js";
import { isEmpty, textSize } from "./fields.js";
import { assistantTurns } from "./row.js";
import { isWritten } from "./template-fit.js";

/** A conversation and the assistant turns, as indices of its messages, that are to be found in its text. */
export interface SpanRequest extends ChatRequest {
  readonly turns: readonly number[];
  /** Each turn has to have a span of its own; otherwise a template that marks spans may mark several in a turn, or none. */
  readonly apart: boolean;
}

export type Span = readonly [start: number, end: number];

/** A conversation as text, with the characters [start, end) of each turn that was asked for. */
export interface SpannedChat {
  readonly text: string;
  readonly spans: readonly Span[];
}

/** `rewritten`: the template writes a turn otherwise once more turns follow, so that it could be had as the last one. */
export type Failure = { readonly error: string; readonly rewritten?: true };

/** Conversations with at most this many turns have every one of them looked at exactly. */
const fewTurns = 8;
/** Turns of a longer conversation that are looked at exactly, of whatever kind: so many first, so many last. */
const sampled = 2;
/** Most turns of one conversation that are looked at exactly. */
export const mostExact = 32;
/** Characters that go to the template's worker in one trip, about. */
const tripSize = 1 << 22;

/**
 * Renders conversations and finds what the assistant writes in each. A template with `{% generation %}` says it itself.
 * With any other, a turn begins where the conversation before it, rendered with the generation prompt, ends, and ends
 * where the conversation up to it ends: exactly what the model will be given, and what it has to write. That needs both
 * to be beginnings of the whole; a template for which they are not (one that rewrites earlier turns) is refused, naming
 * the turn. In a long conversation that is done for a few turns alone, see `longConversation`.
 */
export async function renderWithSpans(
  chat: ChatTemplate,
  requests: readonly SpanRequest[],
): Promise<(SpannedChat | Failure)[]> {
  if (chat.marksAssistant) {
    const results = await renderInTrips(chat, requests.map(wholeOf));
    return results.map((result, i) => ("error" in result ? refused(result.error) : pickMarked(result, requests[i]!)));
  }
  const isShort = ({ turns }: SpanRequest) => turns.length <= fewTurns;
  const parts = requests.map((request) =>
    isShort(request) ? [wholeOf(request), ...cutsOf(request, request.turns)] : [],
  );
  const results = await renderInTrips(chat, parts.flat());
  const spanned: (SpannedChat | Failure)[] = [];
  let at = 0;
  for (const [i, request] of requests.entries()) {
    const [whole, ...cuts] = results.slice(at, (at += parts[i]!.length));
    spanned.push(whole ? shortConversation(whole, request.turns, cuts) : await longConversation(chat, request));
  }
  return spanned;
}

const refused = (error: string): Failure => ({ error: `the chat template refuses it: ${error}` });

type Outcome = RenderedChat | Failure;

/** Renders in trips of a bounded size: the requests of a trip are copied to the worker together. */
export async function renderInTrips(chat: ChatTemplate, requests: readonly ChatRequest[]): Promise<Outcome[]> {
  const sizes = new Map<Message, number>();
  const sizeOf = (message: Message) => {
    let size = sizes.get(message);
    if (size === undefined) sizes.set(message, (size = textSize(message)));
    return size;
  };
  const results: Outcome[] = [];
  let trip: ChatRequest[] = [];
  let room = tripSize;
  for (const request of requests) {
    const size = request.messages.reduce((sum, message) => sum + sizeOf(message), 0);
    if (size > room && trip.length > 0) {
      results.push(...(await chat.renderMany(trip)));
      [trip, room] = [[], tripSize];
    }
    trip.push(request);
    room -= size;
  }
  if (trip.length > 0) results.push(...(await chat.renderMany(trip)));
  return results;
}

/** The conversation without what is to be found in it. */
export const wholeOf = ({ turns: _turns, apart: _apart, ...conversation }: SpanRequest): ChatRequest => conversation;

/** For each turn the conversation before it, as the model will be asked for it, and the conversation through that turn. */
function cutsOf(request: SpanRequest, turns: readonly number[]): ChatRequest[] {
  const { messages, ...rest } = wholeOf(request);
  return turns.flatMap((turn) => [
    { ...rest, messages: messages.slice(0, turn), addGenerationPrompt: true },
    { ...rest, messages: messages.slice(0, turn + 1) },
  ]);
}

function shortConversation(whole: Outcome, turns: readonly number[], cuts: readonly Outcome[]): SpannedChat | Failure {
  if ("error" in whole) return refused(whole.error);
  const spans: Span[] = [];
  for (const [i, turn] of turns.entries()) {
    const span = exactSpan(whole.text, turn, cuts[2 * i]!, cuts[2 * i + 1]!);
    if ("error" in span) return span;
    spans.push(span);
  }
  return { text: whole.text, spans };
}

function exactSpan(whole: string, turn: number, before: Outcome, through: Outcome): Span | Failure {
  for (const part of [before, through]) {
    if ("error" in part) return { error: `the chat template refuses the part up to turn ${turn}: ${part.error}` };
  }
  const [from, to] = [(before as RenderedChat).text, (through as RenderedChat).text];
  if (whole.startsWith(from) && whole.startsWith(to) && to.length >= from.length) return [from.length, to.length];
  if (turn === 0) {
    return { error: "it begins with an assistant turn, which the chat template cannot ask for; put a user turn first" };
  }
  return {
    rewritten: true,
    error: `the chat template writes turn ${turn} differently when more turns follow or when an answer is asked for, so what the model would write there is unknown; use train_on: last, or a template with {% generation %}`,
  };
}

/**
 * Finds turns with a number of renderings that does not grow with them. The other messages are found in the text by marks
 * put around what they say. What stands between a message and the answer after it (the end of its turn and the generation
 * prompt) is learned from turns that are looked at exactly, and so is what stands between an answer and the message after
 * it: from the first and the last turn of each kind, and a few more. Every other turn has to show the one and the other as
 * learned, without a doubt which, and between them what the row has it say; one that does not is looked at exactly. Past
 * `mostExact` turns looked at the row is refused.
 */
async function longConversation(chat: ChatTemplate, request: SpanRequest): Promise<SpannedChat | Failure> {
  const { messages, turns } = request;
  const sample = sampleOf(messages, turns);
  if (sample.length > mostExact) return tooMany(turns.length);
  const [whole] = await renderInTrips(chat, [wholeOf(request)]);
  if ("error" in whole!) return refused(whole.error);
  const { text } = whole!;
  const anchors = await findAnchors(chat, wholeOf(request), text);
  if (anchors.size === 0 && turns.length > mostExact) return tooMany(turns.length);
  const borders = createBorders(text, messages, anchors);
  const found = new Map<number, Span>();
  const lookAt = async (some: readonly number[]): Promise<Failure | undefined> => {
    const cuts = await renderInTrips(chat, cutsOf(request, some));
    for (const [i, turn] of some.entries()) {
      const span = exactSpan(text, turn, cuts[2 * i]!, cuts[2 * i + 1]!);
      if ("error" in span) return span;
      found.set(turn, span);
      borders.learn(turn, span);
    }
  };
  let failure = await lookAt(sample);
  let exact = sample.length;
  for (const turn of turns) {
    if (failure) return failure;
    if (found.has(turn)) continue;
    const span = borders.find(turn);
    if (span) found.set(turn, span);
    else if (++exact > mostExact) return tooMany(turns.length);
    else failure = await lookAt([turn]);
  }
  return failure ?? { text, spans: turns.map((turn) => found.get(turn)!) };
}

/** Where the messages that are not the assistant's stand; a template may ask whether one says nothing, so it is tried twice. */
async function findAnchors(chat: ChatTemplate, conversation: ChatRequest, text: string): Promise<Anchors> {
  for (const blank of [true, false]) {
    const [marked] = await renderInTrips(chat, [withMarks(conversation, blank)]);
    const anchors = "error" in marked! ? undefined : readAnchors(text, marked!.text, conversation.messages, blank);
    if (anchors && anchors.size > 0) return anchors;
  }
  return new Map();
}

/** The turns that are looked at exactly in any case: the first and the last ones of all and of each kind. */
function sampleOf(messages: readonly Message[], turns: readonly number[]): number[] {
  const kinds = new Map<string, number[]>();
  for (const turn of turns) {
    const fields = Object.keys(messages[turn]!).filter((name) => !isEmpty(messages[turn]![name]));
    const kind = JSON.stringify([messages[turn - 1]?.role, fields.sort(), messages[turn + 1]?.role]);
    const known = kinds.get(kind);
    if (known) known[1] = turn;
    else kinds.set(kind, [turn]);
  }
  const sample = new Set([...turns.slice(0, sampled), ...[...kinds.values()].flat(), ...turns.slice(-sampled)]);
  return [...sample].sort((a, b) => a - b);
}

const tooMany = (turns: number): Failure => ({
  error: `it has ${turns} assistant turns, and more than ${mostExact} of them cannot be told by what stands around them in the chat template's text; cut the row into several, use train_on: last, or a template with {% generation %}`,
});

/** What stands before and after answers in a text, as learned from some of them. */
function createBorders(text: string, messages: readonly Message[], anchors: Anchors) {
  const openings = new Map<string, Set<string>>();
  const closings = new Map<string, Set<string>>();
  const add = (known: Map<string, Set<string>>, role: string, border: string) => {
    const set = known.get(role);
    if (set) set.add(border);
    else known.set(role, new Set([border]));
  };
  const only = (known: Map<string, Set<string>>, role: string, fits: (border: string) => boolean) => {
    const fitting = [...(known.get(role) ?? [])].filter(fits);
    return fitting.length === 1 ? fitting[0]!.length : undefined;
  };
  return {
    learn(turn: number, [start, end]: Span): void {
      const [before, after] = [anchors.get(turn - 1), anchors.get(turn + 1)];
      if (before && before[1] <= start) add(openings, messages[turn - 1]!.role, text.slice(before[1], start));
      if (after && end <= after[0]) add(closings, messages[turn + 1]!.role, text.slice(end, after[0]));
    },
    find(turn: number): Span | undefined {
      const [before, after] = [anchors.get(turn - 1), anchors.get(turn + 1)];
      if (!before || !after) return undefined;
      const opening = only(openings, messages[turn - 1]!.role, (border) => text.startsWith(border, before[1]));
      const closing = only(closings, messages[turn + 1]!.role, (border) => text.endsWith(border, after[0]));
      if (opening === undefined || closing === undefined) return undefined;
      const [start, end] = [before[1] + opening, after[0] - closing];
      const said = (messages[turn]!.content ?? "").trim();
      return start < end && isWritten(text.slice(start, end), said) ? [start, end] : undefined;
    },
  };
}

/** The spans of a template that marks them, for the turns that were asked for. */
function pickMarked({ text, spans }: RenderedChat, { messages, turns, apart }: SpanRequest): SpannedChat | Failure {
  if (spans.length === 0) return { error: "the chat template's {% generation %} covers none of its turns" };
  const all = assistantTurns(messages);
  if (!apart && turns.length === all.length) return { text, spans };
  if (spans.length === all.length) return { text, spans: pick(all, spans, turns) };
  return {
    error: `the chat template's {% generation %} marks ${spans.length} parts of ${all.length} assistant turns, so which turn is which is unknown, and not all of them are to be learned`,
  };
}

/** The spans of some turns, both in order. */
function pick(all: readonly number[], spans: readonly Span[], turns: readonly number[]): Span[] {
  const wanted = new Set(turns);
  return spans.filter((_, i) => wanted.has(all[i]!));
}
