import { UserError } from "../tensor/index.js";
import type { Pace } from "../tensor/pace.js";
import type { Encoding } from "../tokenizers/encoding.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { TrainOn } from "./row.js";
import type { Span } from "./spans.js";

/** Ids of one row with its targets marked, before its length is looked at. */
export interface EncodedRow {
  readonly ids: number[];
  readonly supervised: number[];
  /** The chat template ended the last answer with no token of its own, so an EOS was put there. */
  readonly addedEnd: boolean;
}

/**
 * A prompt and its completion (or, with an empty prompt, a text): one tokenisation of both with what the tokenizer adds
 * to plain text, then an EOS where there is none yet. Targets are the tokens that cover a character of the completion,
 * and the EOS. Throws UserError when the tokenizer has no EOS: the model would never learn to stop.
 */
export async function encodeText(
  tokenizer: Tokenizer,
  prompt: string,
  completion: string,
  trainOn: TrainOn,
  pace: Pace,
): Promise<EncodedRow> {
  const text = prompt + completion;
  const encoding = await paced(tokenizer.encodeInSteps(text), pace);
  const row = label(encoding, [[trainOn === "all" ? 0 : prompt.length, text.length]]);
  endWithEos(tokenizer, row);
  return { ...row, addedEnd: false };
}

/** A prompt that is to be gone on from: a text with what the tokenizer adds to one, or a rendered conversation as it is. */
export async function encodePrompt(
  tokenizer: Tokenizer,
  text: string,
  { rendered }: { readonly rendered: boolean },
  pace: Pace,
): Promise<EncodedRow> {
  const { ids } = await paced(tokenizer.encodeInSteps(text, { addSpecialTokens: !rendered }), pace);
  return { ids: [...ids], supervised: ids.map(() => 0), addedEnd: false };
}

/** What of a conversation's text is learned: its answers, and with `all` also the rest but for `muted` turns. */
export interface Learned {
  readonly answers: readonly Span[];
  readonly all: boolean;
  readonly muted: readonly Span[];
}

/**
 * A rendered conversation: one tokenisation, nothing added. Targets are the tokens that cover a character of an answer and
 * the end-of-turn token that follows it; white space after that token is the template's, not the assistant's. An answer
 * at the end of the conversation that the template ends with no token of its own is ended with EOS.
 */
export async function encodeChat(
  tokenizer: Tokenizer,
  text: string,
  { answers, all, muted }: Learned,
  pace: Pace,
): Promise<EncodedRow> {
  const encoding = await paced(tokenizer.encodeInSteps(text, { addSpecialTokens: false }), pace);
  const row = label(encoding, all ? [[0, text.length]] : answers);
  const turnEnds = createTurnEnds(tokenizer, text, encoding);
  let ended = false;
  for (const answer of answers) {
    const { end, last } = turnEnds(answer);
    ended = end !== undefined;
    if (end === undefined) continue;
    row.supervised[end] = 1;
    if (!all) row.supervised.fill(0, end + 1, last + 1);
  }
  if (muted.length > 0) mute(row.supervised, encoding, muted, createTurnEnds(tokenizer, text, encoding));
  const open = !ended && answers.at(-1)?.[1] === text.length;
  if (open) endWithEos(tokenizer, row);
  return { ...row, addedEnd: open };
}

/** Runs steps to their result, resting between them when it is time. */
async function paced<T>(steps: Generator<void, T>, pace: Pace): Promise<T> {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await pace();
  }
}

/** Marks the tokens that cover a character of a span; a token that covers none counts where it stands. */
function label({ ids, starts, ends }: Encoding, spans: readonly Span[]) {
  const supervised = ids.map((_, i) => {
    const [start, end] = [starts[i]!, Math.max(ends[i]!, starts[i]! + 1)];
    return Number(start >= 0 && end > (firstEndingAfter(spans, start)?.[0] ?? Number.POSITIVE_INFINITY));
  });
  supervised[0] = 0;
  return { ids: [...ids], supervised };
}

/** The first of the spans, which are in order and apart, that ends after a character. */
function firstEndingAfter(spans: readonly Span[], at: number): Span | undefined {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (spans[middle]![1] > at) high = middle;
    else low = middle + 1;
  }
  return spans[low];
}

/** Takes the tokens of turns, and those that end them, out of the targets. */
function mute(supervised: number[], encoding: Encoding, turns: readonly Span[], turnEnds: TurnEnds): void {
  label(encoding, turns).supervised.forEach((inside, i) => {
    if (inside) supervised[i] = 0;
  });
  for (const turn of turns) {
    const { end } = turnEnds(turn);
    if (end !== undefined) supervised[end] = 0;
  }
}

/** Of a turn: its last token that begins inside it, and the end-of-turn token, inside it or just behind it. */
type TurnEnds = (turn: Span) => { readonly last: number; readonly end: number | undefined };

/** Finds the ends of turns, which have to be asked for in order: each token is looked at once. */
function createTurnEnds(tokenizer: Tokenizer, text: string, { ids, starts, ends }: Encoding): TurnEnds {
  let next = 0;
  return ([from, to]) => {
    while (next < ids.length && starts[next]! < to) next++;
    const last = next - 1;
    let end = last;
    while (end > 0 && isBlank(text, starts[end]!, ends[end]!) && starts[end]! >= from) end--;
    if (end >= 0 && starts[end]! >= from && tokenizer.addedIds.has(ids[end]!)) return { last, end };
    const follows = next < ids.length && starts[next] === to && tokenizer.addedIds.has(ids[next]!);
    return { last, end: follows && ids[next] !== tokenizer.bosId ? next : undefined };
  };
}

function isBlank(text: string, start: number, end: number): boolean {
  return text.slice(start, end).trim() === "";
}

function endWithEos(tokenizer: Tokenizer, row: { ids: number[]; supervised: number[] }): void {
  if (tokenizer.eosId === undefined) {
    throw new UserError(
      "tokenizer: it names no end-of-sequence token, so the model would never learn to stop; set eos_token in tokenizer_config.json",
    );
  }
  if (row.ids.at(-1) !== tokenizer.eosId) {
    row.ids.push(tokenizer.eosId);
    row.supervised.push(1);
  }
  row.supervised[row.supervised.length - 1] = 1;
}
