import type { Message } from "../tokenizers/chat-template.js";
import type { Side } from "./sample.js";

/**
 * What a row gives to learn from: a text or conversation, a better and a worse answer, an answer and what it was found to be, or a prompt
 * that the model answers itself.
 */
export type RowKind = "texts" | "pairs" | "judged" | "prompts";

/** A row: a text, conversation or prompt, two texts or conversations, or one with what it was found to be. */
export type Row = Example | PairRow | JudgedRow;

/** What becomes one sequence. */
export type Example = ChatRow | TextRow | PromptRow;

/** What is to be answered, and what an answer may be held against. */
export interface PromptRow {
  readonly kind: "prompt";
  /** Text, or the messages of a conversation. */
  readonly prompt: string | readonly Message[];
  readonly tools?: readonly unknown[];
  /** What else the row says, by its names. */
  readonly columns: Readonly<Record<string, unknown>>;
}

/** A better and a worse answer to the same. */
export interface PairRow {
  readonly kind: "pair";
  readonly chosen: Example;
  readonly rejected: Example;
}

/** An answer that is good, or bad, by itself. */
export interface JudgedRow {
  readonly kind: "judged";
  readonly answer: Example;
  readonly desirable: boolean;
}

/** A conversation, with what the loss may be taken on. */
export interface ChatRow {
  readonly kind: "chat";
  readonly messages: readonly Message[];
  readonly tools?: readonly unknown[];
  /** Index of the first message of the completion; 0 where the row has none. */
  readonly completion: number;
  /** Messages of weight 0. */
  readonly muted: ReadonlySet<number>;
}

export interface TextRow {
  readonly kind: "text";
  readonly prompt: string;
  readonly completion: string;
}

/** The sequences that a row becomes; the first of them carries the others. */
export function partsOf(row: Row): { readonly example: Example; readonly side?: Side }[] {
  if (row.kind === "judged") return [{ example: row.answer, side: row.desirable ? "desirable" : "undesirable" }];
  if (row.kind !== "pair") return [{ example: row }];
  return [
    { example: row.chosen, side: "chosen" },
    { example: row.rejected, side: "rejected" },
  ];
}

/** Tokens the loss is taken on: every assistant turn, the last one, the completion, or all. */
export const trainOnNames = ["assistant", "last", "completion", "all"] as const;

export type TrainOn = (typeof trainOnNames)[number];

export const isAssistant = (message: Message): boolean => message.role === "assistant";

/** The assistant turns, as indices of messages. */
export function assistantTurns(messages: readonly Message[]): number[] {
  return messages.flatMap((message, i) => (isAssistant(message) ? [i] : []));
}

/** The assistant turns that the loss is taken on, as indices of messages. With "all" it is taken on the rest as well. */
export function learnedTurns({ messages, muted, completion }: ChatRow, trainOn: TrainOn): number[] {
  const turns = assistantTurns(messages);
  const chosen = trainOn === "last" ? turns.slice(-1) : turns;
  const from = trainOn === "completion" ? completion : 0;
  return chosen.filter((i) => i >= from && !muted.has(i));
}
