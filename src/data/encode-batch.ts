import { UserError } from "../tensor/index.js";
import type { ChatTemplate } from "../tokenizers/chat-template.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import { type EncodedRow, encodeChat, encodeText } from "./encode.js";
import { isEmpty } from "./fields.js";
import type { Pace } from "./pace.js";
import { assistantTurns, type ChatRow, learnedTurns, type Row, type TrainOn } from "./row.js";
import { renderWithSpans, type Span, type SpannedChat, type SpanRequest } from "./spans.js";
import { templateWords } from "./template-words.js";
import { callFields } from "./turns.js";

/** What turns rows into tokens. Without `chat`, rows of messages are refused; it is asked for only when they come. */
export interface EncodeContext {
  readonly tokenizer: Tokenizer;
  readonly chat?: () => ChatTemplate;
}

/** Rows -> ids and targets, in the rows' order; a string is the reason why a row cannot be had. */
export async function encodeBatch(
  { tokenizer, chat }: EncodeContext,
  rows: readonly Row[],
  trainOn: TrainOn,
  pace: Pace,
): Promise<(EncodedRow | string)[]> {
  const plans = rows.map((row) => (row.kind === "chat" ? planOf(row, trainOn) : undefined));
  const wanted = plans.filter((plan) => plan !== undefined);
  if (wanted.length > 0 && !chat) throw new UserError("chat template: rows of messages need one, and none was given");
  const template = wanted.length > 0 ? chat!() : undefined;
  const sound = wanted.filter((plan) => (plan.reason ??= silentTurn(plan.row, template!.source)) === undefined);
  const rendered = sound.length > 0 ? await renderWithSpans(template!, sound.map(requestOf)) : [];
  const chats = new Map(sound.map((plan, i) => [plan, rendered[i]!]));
  const results: (EncodedRow | string)[] = [];
  for (const [i, row] of rows.entries()) {
    await pace();
    const plan = plans[i];
    if (row.kind === "text")
      results.push(await reasonOr(encodeText(tokenizer, row.prompt, row.completion, trainOn, pace)));
    else results.push(plan!.reason ?? (await encodeSpanned(tokenizer, plan!, chats.get(plan!)!, pace)));
  }
  return results;
}

/** A conversation and what of it is to be found: the turns that are learned, and with "all" those that are not. */
interface Plan {
  readonly row: ChatRow;
  readonly all: boolean;
  readonly turns: readonly number[];
  /** The turns among them that are learned. */
  readonly learned: ReadonlySet<number>;
  /** Some are and some are not. */
  readonly apart: boolean;
  /** Why the row cannot be had. */
  reason?: string | undefined;
}

function planOf(row: ChatRow, trainOn: TrainOn): Plan {
  const learned = learnedTurns(row, trainOn);
  if (trainOn !== "all") return { row, all: false, turns: learned, learned: new Set(learned), apart: false };
  // With "all" a turn need not be found to be learned, but for the last one, which may have to be ended.
  const assistant = assistantTurns(row.messages);
  const turns = assistant.filter((turn) => row.muted.has(turn) || turn === assistant.at(-1));
  const ours = new Set(turns.filter((turn) => !row.muted.has(turn)));
  const other = [...row.muted].find((i) => row.messages[i]!.role !== "assistant");
  const reason =
    other === undefined
      ? undefined
      : `message ${other} is not the assistant's and has weight 0; train_on: all leaves out assistant turns of weight 0 alone`;
  return { row, all: true, turns, learned: ours, apart: ours.size < turns.length, reason };
}

function requestOf({ row: { messages, tools }, turns, apart }: Plan): SpanRequest {
  return { messages, ...(tools ? { tools } : {}), turns, apart };
}

async function encodeSpanned(
  tokenizer: Tokenizer,
  { turns, learned, all, apart }: Plan,
  spanned: SpannedChat | { readonly error: string },
  pace: Pace,
): Promise<EncodedRow | string> {
  if ("error" in spanned) return spanned.error;
  const isLearned = (_: Span, i: number) => !apart || learned.has(turns[i]!);
  const answers = spanned.spans.filter(isLearned);
  const muted = spanned.spans.filter((span, i) => !isLearned(span, i));
  return reasonOr(encodeChat(tokenizer, spanned.text, { answers, all, muted }, pace));
}

/** Why a conversation would teach silence: a turn that only calls functions, which the template does not write. */
function silentTurn({ messages }: ChatRow, source: string): string | undefined {
  for (const [i, message] of messages.entries()) {
    const calls = [...callFields].filter((name) => !isEmpty(message[name]));
    if (calls.length === 0 || (message.content ?? "").trim() !== "") continue;
    if (calls.some((name) => templateWords(source).has(name))) continue;
    return `message ${i} says nothing but ${calls.join(" and ")} (in ShareGPT: function_call), which the chat template does not write: the turn would be empty. Use a template that writes tool calls (tool_calls), or write the call into the content`;
  }
  return undefined;
}

async function reasonOr(work: Promise<EncodedRow>): Promise<EncodedRow | string> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}
