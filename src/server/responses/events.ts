import type { TokenLogprob } from "../../recipes/logprobs.js";
import type { Piece, Usage } from "../answer.js";
import { chance } from "../replies.js";
import type {
  FunctionCallItem,
  MessageItem,
  OutputItem,
  OutputText,
  ReasoningItem,
  ReasoningText,
  ResponseObject,
} from "./wire.js";

/** An event of a stream: its name, its place, and what it tells. */
export interface ResponseEvent {
  readonly type: string;
  readonly sequence_number: number;
  readonly [field: string]: unknown;
}

type Emit = (type: string, fields: object) => ResponseEvent;

interface Making {
  readonly usage: Usage;
  readonly newId: (prefix: string) => string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * An answer as the events of OpenAI's /v1/responses, in its order: the response is created, each item of the output is added, filled
 * part by part and done, and the last event has the whole response. A reply that is not streamed is the last event's.
 */
export async function* responseEvents(
  begun: ResponseObject,
  pieces: AsyncIterable<Piece>,
  { usage, newId, now }: Making,
): AsyncGenerator<ResponseEvent, void> {
  let number = 0;
  const emit: Emit = (type, fields) => ({ type, sequence_number: number++, ...fields });
  yield emit("response.created", { response: begun });
  yield emit("response.in_progress", { response: begun });
  const output: OutputItem[] = [];
  let open: OpenItem | undefined;
  const to = function* (make: typeof openMessage | typeof openReasoning, type: OutputItem["type"]) {
    if (open?.item.type === type) return;
    if (open) yield* open.close("completed");
    open = make(newId, emit, output.length);
    output.push(open.item);
    yield* open.begin();
  };
  let finish: Piece["finishReason"] = null;
  for await (const { text, reasoning, calls, tokens = [], finishReason } of pieces) {
    if (reasoning) {
      yield* to(openReasoning, "reasoning");
      yield* open!.add(reasoning, []);
    }
    if (text || (finishReason !== null && output.length === 0 && calls.length === 0)) yield* to(openMessage, "message");
    if (open?.item.type === "message" && (text || tokens.length > 0)) yield* open.add(text, tokens);
    for (const { id, name, arguments: more } of calls) {
      if (name !== undefined) {
        if (open) yield* open.close("completed");
        open = openCall({ newId, emit, index: output.length }, id!, name);
        output.push(open.item);
        yield* open.begin();
      }
      if (more) yield* open!.add(more, []);
    }
    finish = finishReason;
  }
  const cut = finish === "length";
  if (open) yield* open.close(cut ? "incomplete" : "completed");
  const status = cut ? "incomplete" : "completed";
  const response: ResponseObject = {
    ...begun,
    status,
    completed_at: cut ? null : Math.floor(now() / 1000),
    incomplete_details: cut ? { reason: "max_output_tokens" } : null,
    output,
    usage: usageOf(usage),
  };
  yield emit(`response.${status}`, { response });
}

/** The event after which nothing comes because something went wrong. */
export function failedEvent(begun: ResponseObject, error: { readonly code: string | null; readonly message: string }) {
  const told = { code: error.code ?? "server_error", message: error.message };
  return { type: "response.failed", response: { ...begun, status: "failed", error: told } };
}

/** An item of the output that is being made. */
interface OpenItem {
  readonly item: OutputItem;
  begin(): Generator<ResponseEvent, void>;
  add(text: string, tokens: readonly TokenLogprob[]): Generator<ResponseEvent, void>;
  close(status: "completed" | "incomplete"): Generator<ResponseEvent, void>;
}

function openMessage(newId: Making["newId"], emit: Emit, index: number): OpenItem {
  const item: MessageItem = {
    id: newId("msg"),
    type: "message",
    role: "assistant",
    status: "in_progress",
    content: [],
  };
  const part: OutputText = { type: "output_text", text: "", annotations: [], logprobs: [] };
  return openText(item, part, { emit, index, event: "response.output_text" });
}

function openReasoning(newId: Making["newId"], emit: Emit, index: number): OpenItem {
  const item: ReasoningItem = { id: newId("rs"), type: "reasoning", summary: [], status: "in_progress", content: [] };
  const part: ReasoningText = { type: "reasoning_text", text: "" };
  return openText(item, part, { emit, index, event: "response.reasoning_text" });
}

/** A call of a tool: its arguments come piece by piece. */
function openCall(
  { newId, emit, index }: Pick<Making, "newId"> & Pick<Place, "emit" | "index">,
  call_id: string,
  name: string,
): OpenItem {
  const id = newId("fc");
  const item: FunctionCallItem = { id, type: "function_call", call_id, name, arguments: "", status: "in_progress" };
  const where = { output_index: index };
  const event = "response.function_call_arguments";
  return {
    item,
    *begin() {
      yield emit("response.output_item.added", { ...where, item: { ...item } });
    },
    *add(text) {
      item.arguments += text;
      yield emit(`${event}.delta`, { item_id: id, ...where, delta: text });
    },
    *close(status) {
      item.status = status;
      yield emit(`${event}.done`, { item_id: id, ...where, name, arguments: item.arguments });
      yield emit("response.output_item.done", { ...where, item: { ...item } });
    },
  };
}

interface Place {
  readonly emit: Emit;
  /** Which item of the output it is. */
  readonly index: number;
  /** What events that add to it are called. */
  readonly event: string;
}

/** An item of one part, which is text. Events have copies: the item itself still grows. */
function openText(
  item: MessageItem | ReasoningItem,
  part: OutputText | ReasoningText,
  { emit, index, event }: Place,
): OpenItem {
  const where = { output_index: index };
  const inside = { item_id: item.id, ...where, content_index: 0 };
  return {
    item,
    *begin() {
      yield emit("response.output_item.added", { ...where, item: { ...item } });
      yield emit("response.content_part.added", { ...inside, part: { ...part } });
    },
    *add(text, tokens) {
      part.text += text;
      const logprobs = tokens.map(({ top, ...token }) => ({ ...chance(token), top_logprobs: top.map(chance) }));
      if (part.type === "output_text") part.logprobs = [...part.logprobs, ...logprobs];
      if (text)
        yield emit(`${event}.delta`, { ...inside, delta: text, ...(part.type === "output_text" ? { logprobs } : {}) });
    },
    *close(status) {
      const { type, text } = part;
      yield emit(`${event}.done`, { ...inside, text, ...(type === "output_text" ? { logprobs: part.logprobs } : {}) });
      yield emit("response.content_part.done", { ...inside, part: { ...part } });
      Object.assign(item, { status, content: [part] });
      yield emit("response.output_item.done", { ...where, item: { ...item } });
    },
  };
}

function usageOf({ promptTokens, completionTokens, reasoningTokens = 0 }: Usage): object {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: promptTokens + completionTokens,
  };
}
