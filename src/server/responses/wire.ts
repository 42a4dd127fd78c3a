// Objects of OpenAI's API reference for /v1/responses, in its own names.

/** A part of what a message says. */
export interface OutputText {
  readonly type: "output_text";
  text: string;
  readonly annotations: readonly [];
  logprobs: object[];
}

export interface ReasoningText {
  readonly type: "reasoning_text";
  text: string;
}

type ItemStatus = "in_progress" | "completed" | "incomplete";

export interface MessageItem {
  readonly id: string;
  readonly type: "message";
  readonly role: "assistant";
  status: ItemStatus;
  content: OutputText[];
}

/** What the model thought before it answered. */
export interface ReasoningItem {
  readonly id: string;
  readonly type: "reasoning";
  readonly summary: readonly [];
  status: ItemStatus;
  content: ReasoningText[];
}

/** A tool that is to be called. */
export interface FunctionCallItem {
  readonly id: string;
  readonly type: "function_call";
  readonly call_id: string;
  readonly name: string;
  /** JSON text. */
  arguments: string;
  status: ItemStatus;
}

export type OutputItem = MessageItem | ReasoningItem | FunctionCallItem;

/** An item that a client sent, as it is kept. */
export interface InputItem {
  readonly id: string;
  readonly [field: string]: unknown;
}

export interface ResponseObject {
  readonly id: string;
  readonly object: "response";
  /** Seconds since 1970. */
  readonly created_at: number;
  readonly status: "in_progress" | "completed" | "incomplete" | "failed";
  readonly completed_at: number | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly incomplete_details: { readonly reason: "max_output_tokens" } | null;
  readonly model: string;
  readonly output: readonly OutputItem[];
  readonly usage: object | null;
  /** What the request asked for, as it came or as it was understood. */
  readonly [asked: string]: unknown;
}
