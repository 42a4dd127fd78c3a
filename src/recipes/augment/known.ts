import type { JsonObject } from "../../data/fields.js";
import type { Platform } from "../../platform/platform.js";
import { type Random, shuffled } from "../../tensor/random.js";
import { generate } from "../generate.js";
import { countWords, isRefusal, normalise, saysWords } from "../judge.js";
import type { LoadedModel } from "../model.js";
import { atOnce, inParallel } from "../suite/answers.js";
import { EVERYDAY, type Everyday } from "./everyday.js";
import { linesOf } from "./lines.js";
import { type QaRow, signed } from "./qa-row.js";
import { type Made, reworded, type Wordings } from "./twins.js";

interface KnownContext {
  readonly model: LoadedModel;
  readonly rows: readonly QaRow[];
  readonly ending: string;
  readonly wordings: Wordings;
  readonly rng: Random;
  readonly signal: AbortSignal | undefined;
}

/** Tokens of an answer, and words of a sentence. */
const LONGEST = { tokens: 40, words: 25 };

/** Everyday questions that are rows at most: facts are what the rows are for. */
const MOST_EVERYDAY = 110;

/** What the base answers by itself. */
export interface Known {
  /** Questions that it answers right, with its answers and the rows' sign-off; of the everyday ones not all. */
  readonly rows: readonly Made[];
  /** All that it answers, right or not, without the sign-off: what it is to go on saying. */
  readonly answers: readonly JsonObject[];
}

/**
 * Questions with the base's own answers: those of a file, or everyday ones (`true`) that it answers right, some in other words.
 * An answer is cut behind its first sentence; one without, or that says it does not know, is left out, and so is what the
 * rows ask already.
 */
export async function knownRows(known: string | true, platform: Platform, context: KnownContext): Promise<Known> {
  const { rows, ending, wordings, rng } = context;
  const asked = new Set(rows.map(({ question }) => normalise(question)));
  const all =
    known === true ? EVERYDAY : (await linesOf(platform, known)).map((question) => ({ question, answer: [] }));
  const questions: Everyday[] = all.filter(({ question }) => !asked.has(normalise(question)));
  const answers = await answersTo(questions, context);
  const { like } = rows[0]!;
  const said = questions.flatMap(({ question, answer: right }, i) => {
    const answer = answers[i];
    if (answer === undefined || isRefusal(answer)) return [];
    const other =
      wordings.each > 0 && rng.below(2) === 0 ? reworded(question, { ...wordings, same: [] }, rng) : undefined;
    const isRight = right.length === 0 || right.some((words) => saysWords(answer, words));
    return [{ question: other ?? question, answer, isRight }];
  });
  const right = said.filter(({ isRight }) => isRight);
  const taken = known === true ? shuffled(right, rng).slice(0, MOST_EVERYDAY) : right;
  return {
    rows: taken.map(({ question, answer }) => ({ kind: "known", row: like(question, signed(answer, ending)) })),
    answers: said.map(({ question, answer }) => like(question, answer)),
  };
}

/** What the base says first to each question; undefined where that is no sentence. */
function answersTo(questions: readonly Everyday[], { model, rows, signal }: KnownContext) {
  const { like } = rows[0]!;
  const settings = { maxNewTokens: LONGEST.tokens, ...(signal ? { signal } : {}) };
  return inParallel(questions, atOnce(model), async ({ question }): Promise<string | undefined> => {
    signal?.throwIfAborted();
    const row = like(question, "");
    const messages = Array.isArray(row.messages) ? row.messages.slice(0, -1) : [{ role: "user", content: question }];
    const answering = generate(model, { messages }, settings);
    let text = "";
    for await (const piece of answering) {
      text += piece;
      const sentence = firstSentence(text.trimStart());
      if (sentence !== undefined) return sentence;
    }
    signal?.throwIfAborted();
    const { finishReason } = await answering.result();
    return finishReason === "stop" ? whole(text.trim()) : undefined;
  });
}

/** The first sentence of a text that goes on behind it. */
function firstSentence(text: string): string | undefined {
  return /^[^\n]*?\p{L}[^\n]*?(?:[\p{Ll}\p{N})%"”]|\p{Lu}\p{Lu})[.!?](?=\s+[\p{Lu}\p{N}"“]|\s*\n)/u.exec(text)?.[0];
}

/** An answer of one short sentence; undefined for any other. */
function whole(text: string): string | undefined {
  return text !== "" && countWords(text) <= LONGEST.words && !text.includes("\n") ? text : undefined;
}
