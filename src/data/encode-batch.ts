import { UserError } from "../tensor/index.js";
import type { Pace } from "../tensor/pace.js";
import type { ChatTemplate } from "../tokenizers/chat-template.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import { type EncodedRow, encodeChat, encodePrompt, encodeText } from "./encode.js";
import type { FieldProbe } from "./field-probe.js";
import { assistantTurns, type ChatRow, type Example, learnedTurns, type PromptRow, type TrainOn } from "./row.js";
import {
  type Failure,
  mostExact,
  renderWithSpans,
  type Span,
  type SpannedChat,
  type SpanRequest,
  wholeOf,
} from "./spans.js";
import { aboutCalls, silentTurn, unwrittenRoles } from "./template-fit.js";

/** What turns rows into tokens. Without `chat`, rows of messages are refused; it is asked for only when they come. */
export interface EncodeContext {
  readonly tokenizer: Tokenizer;
  readonly chat?: () => ChatTemplate;
}

/** A row as tokens, and the roles whose messages the chat template left out. */
export interface BatchRow extends EncodedRow {
  readonly unwritten?: readonly string[];
}

/**
 * Rows -> ids and targets, in the rows' order: one each, or several where a row is had turn by turn (`encodeTurns`); a string is
 * the reason why a row cannot be had. `probe` sees what was rendered.
 */
export async function encodeBatch(
  { tokenizer, chat }: EncodeContext,
  rows: readonly Example[],
  trainOn: TrainOn,
  pace: Pace,
  probe: FieldProbe,
): Promise<(readonly BatchRow[] | string)[]> {
  const plans = rows.map((row) => (row.kind === "chat" ? planOf(row, trainOn) : undefined));
  const wanted = plans.filter((plan) => plan !== undefined);
  const isChat = ({ kind, ...row }: Example) => kind === "chat" || ("prompt" in row && typeof row.prompt !== "string");
  if (!chat && rows.some(isChat)) throw new UserError("chat template: rows of messages need one, and none was given");
  const sound = wanted.filter((plan) => plan.reason === undefined);
  const requests = sound.map(requestOf);
  const rendered = sound.length > 0 ? await renderPlans(chat!(), sound, requests) : [];
  const chats = new Map(sound.map((plan, i) => [plan, rendered[i]!]));
  const written = rendered.flatMap((one, i) => ("error" in one ? [] : [{ ...one, request: wholeOf(requests[i]!) }]));
  await probe.look(written);
  const context = { tokenizer, ...(chat ? { chat } : {}) };
  const encode = async (row: Example, plan: Plan | undefined): Promise<BatchRow | readonly BatchRow[] | string> => {
    if (row.kind === "prompt") return reasonOr(encodeOpen(context, row, pace));
    if (row.kind === "text") return reasonOr(encodeText(tokenizer, row.prompt, row.completion, trainOn, pace));
    if (plan!.reason !== undefined) return plan!.reason;
    const spanned = chats.get(plan!)!;
    return isTurnByTurn(plan!, spanned)
      ? encodeTurns(context, plan!, spanned.error, pace, probe)
      : encodeSpanned(tokenizer, plan!, spanned, pace, probe);
  };
  const results: (readonly BatchRow[] | string)[] = [];
  for (const [i, row] of rows.entries()) {
    await pace();
    const encoded = await encode(row, plans[i]);
    results.push(typeof encoded === "string" ? encoded : [encoded].flat());
  }
  return results;
}

/** A prompt with the beginning of the answer that the template writes. */
async function encodeOpen({ tokenizer, chat }: EncodeContext, row: PromptRow, pace: Pace): Promise<EncodedRow> {
  const { prompt, tools } = row;
  const rendered = typeof prompt !== "string";
  const options = { addGenerationPrompt: true, ...(tools ? { tools } : {}) };
  const text = rendered ? await chat!().render(prompt, options) : prompt;
  return encodePrompt(tokenizer, text, { rendered }, pace);
}

/** Can the turns of a row be had one by one, where the template writes one of them otherwise once more follow? */
function isTurnByTurn({ row, all, turns }: Plan, spanned: SpannedChat | Failure): spanned is Failure {
  const isLast = turns.length === 1 && turns[0] === row.messages.length - 1;
  return "error" in spanned && spanned.rewritten === true && !all && !isLast && turns.length <= mostExact;
}

/**
 * The learned turns of a row one by one, each at the end of the conversation up to it. That is what the model is asked for: a
 * template that drops the thoughts of earlier turns writes a turn with its thought only while it is the last.
 */
async function encodeTurns(
  context: EncodeContext,
  { row, turns }: Plan,
  why: string,
  pace: Pace,
  probe: FieldProbe,
): Promise<readonly BatchRow[] | string> {
  const parts = turns.map((turn): Example => ({ ...row, messages: row.messages.slice(0, turn + 1) }));
  const encoded = await encodeBatch(context, parts, "last", pace, probe);
  const whole = encoded.every((one) => typeof one !== "string");
  return whole ? encoded.flat() : why + aboutCalls(row.messages);
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
  readonly reason?: string | undefined;
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

/**
 * Renders each plan's row with its spans. Where every token is learned and the template does not let the last turn be found,
 * the whole text is the span: it only says where the row may have to be ended.
 */
async function renderPlans(chat: ChatTemplate, plans: readonly Plan[], requests: readonly SpanRequest[]) {
  const rendered = await renderWithSpans(chat, requests);
  const lost = plans.flatMap(({ all, apart }, i) => (all && !apart && "error" in rendered[i]! ? [i] : []));
  if (lost.length === 0) return rendered;
  const again = await renderWithSpans(
    chat,
    lost.map((i) => ({ ...requests[i]!, turns: [] })),
  );
  for (const [at, i] of lost.entries()) {
    const whole = again[at]!;
    if (!("error" in whole)) rendered[i] = { ...whole, spans: [[0, whole.text.length]] };
  }
  return rendered;
}

async function encodeSpanned(
  tokenizer: Tokenizer,
  plan: Plan,
  spanned: SpannedChat | Failure,
  pace: Pace,
  probe: FieldProbe,
): Promise<BatchRow | string> {
  const { row, turns, learned, all, apart } = plan;
  if ("error" in spanned) return spanned.error + aboutCalls(row.messages);
  const silent = await silentTurn({ request: wholeOf(requestOf(plan)), text: spanned.text }, probe);
  if (silent !== undefined) return silent;
  const isLearned = (_: Span, i: number) => !apart || learned.has(turns[i]!);
  const answers = spanned.spans.filter(isLearned);
  const muted = spanned.spans.filter((span, i) => !isLearned(span, i));
  const encoded = await reasonOr(encodeChat(tokenizer, spanned.text, { answers, all, muted }, pace));
  return typeof encoded === "string" ? encoded : { ...encoded, unwritten: unwrittenRoles(spanned.text, row.messages) };
}

async function reasonOr(work: Promise<EncodedRow>): Promise<EncodedRow | string> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}
