import { UserError } from "../tensor/index.js";
import type { Encoding } from "../tokenizers/encoding.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { TrainOn } from "./formats.js";
import type { Pace } from "./pace.js";

/** Ids of one row with its targets marked, before its length is looked at. */
export interface EncodedRow {
  readonly ids: number[];
  readonly supervised: number[];
  /** The chat template ended the last answer with no token of its own, so an EOS was put there. */
  readonly addedEnd: boolean;
}

/** Where the answers of a text are: characters [start, end). */
export type Spans = readonly (readonly [start: number, end: number])[];

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

/**
 * A rendered conversation: one tokenisation, nothing added. Targets are the tokens that cover a character of a span and
 * the end-of-turn token that follows it; white space after that token is the template's, not the assistant's. An answer
 * at the end of the conversation that the template ends with no token of its own is ended with EOS.
 */
export async function encodeChat(
  tokenizer: Tokenizer,
  text: string,
  spans: Spans,
  trainOn: TrainOn,
  pace: Pace,
): Promise<EncodedRow> {
  const encoding = await paced(tokenizer.encodeInSteps(text, { addSpecialTokens: false }), pace);
  const row = label(encoding, trainOn === "all" ? [[0, text.length]] : spans);
  let ended = false;
  for (const span of spans) {
    ended = endTurn(tokenizer, text, encoding, span, row.supervised, trainOn === "all");
  }
  const open = !ended && spans.at(-1)?.[1] === text.length;
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
function label({ ids, starts, ends }: Encoding, spans: Spans) {
  const supervised = ids.map((_, i) => {
    const [start, end] = [starts[i]!, Math.max(ends[i]!, starts[i]! + 1)];
    return Number(start >= 0 && spans.some(([from, to]) => start < to && end > from));
  });
  supervised[0] = 0;
  return { ids: [...ids], supervised };
}

/** Makes the end-of-turn token the last target of a span. Returns whether the turn has such a token. */
function endTurn(
  tokenizer: Tokenizer,
  text: string,
  { ids, starts, ends }: Encoding,
  [from, to]: readonly [number, number],
  supervised: number[],
  keepRest: boolean,
): boolean {
  let last = ids.length - 1;
  while (last >= 0 && starts[last]! >= to) last--;
  let end = last;
  while (end > 0 && isBlank(text, starts[end]!, ends[end]!) && starts[end]! >= from) end--;
  if (starts[end]! >= from && tokenizer.addedIds.has(ids[end]!)) {
    if (!keepRest) supervised.fill(0, end + 1, last + 1);
    return true;
  }
  const next = last + 1;
  const follows = next < ids.length && starts[next] === to && tokenizer.addedIds.has(ids[next]!);
  if (!follows || ids[next] === tokenizer.bosId) return false;
  supervised[next] = 1;
  return true;
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
