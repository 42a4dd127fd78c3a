import { random } from "../../tensor/random.js";
import { isRefusal, normalise } from "../judge.js";
import { inParallel } from "../suite/answers.js";
import { type Entity, isAbout } from "./entities.js";
import type { QaRow } from "./qa-row.js";

/** Asks a model that answers conversations, wherever it runs: the text that it answers. */
export type AskChat = (
  messages: readonly { readonly role: "system" | "user"; readonly content: string }[],
  options: { readonly seed: number; readonly signal?: AbortSignal },
) => Promise<string>;

interface WordingOptions {
  readonly ask: AskChat;
  /** Wordings that are kept of a question, at most. */
  readonly count: number;
  readonly seed: number;
  readonly signal: AbortSignal | undefined;
}

/** Taught questions in a model's words, each as a row, and how many of its wordings were no use, by the reason. */
export interface ModelWordings {
  readonly rows: readonly QaRow[];
  readonly leftOut: Readonly<Record<string, number>>;
}

const AT_ONCE = 4;
const INSTRUCTION =
  "You write training data. Asked for other wordings of a question, you write each on a line of its own and nothing else: no " +
  "numbering, no quotes, no answers. Each asks exactly the same, and has every name and every number as it is in the question.";

/**
 * Has a model ask each taught question in other words. What does not ask the same is left out: a wording without a name or number of the
 * question, one with others, one that tells the answer, one that is there already. The same seed asks with the same seeds.
 */
export async function modelWordings(
  rows: readonly QaRow[],
  entities: readonly Entity[],
  { ask, count, seed, signal }: WordingOptions,
): Promise<ModelWordings> {
  const taught = new Map(rows.flatMap((row) => (row.refused ? [] : [[row.question, row] as const])));
  const answers = await inParallel([...taught.values()], AT_ONCE, async ({ question }) => {
    signal?.throwIfAborted();
    const messages = [
      { role: "system", content: INSTRUCTION },
      { role: "user", content: `${count + 2} other wordings of this question:\n${question}` },
    ] as const;
    const drawn = random(seed, "augment", "model wordings", question).int32() >>> 1;
    return ask(messages, { seed: drawn, ...(signal ? { signal } : {}) });
  });
  signal?.throwIfAborted();
  const seen = new Set(rows.map(({ question }) => normalise(question)));
  const leftOut: Record<string, number> = {};
  const made = [...taught.values()].flatMap((row, i) => {
    const kept: QaRow[] = [];
    const names = entities.filter(({ name }) => isAbout(row.question, name)).map(({ name }) => name);
    for (const wording of linesOf(answers[i]!)) {
      if (kept.length === count) break;
      const fault = seen.has(normalise(wording)) ? "were there already" : faultOf(wording, row, names);
      if (fault) leftOut[fault] = (leftOut[fault] ?? 0) + 1;
      else {
        kept.push({ ...row, question: wording });
        seen.add(normalise(wording));
      }
    }
    return kept;
  });
  return { rows: made, leftOut };
}

/** The wordings in an answer: its lines, without what some models put around them whatever they are told. */
function linesOf(answer: string): string[] {
  const bare = (line: string) =>
    line
      .trim()
      .replace(/^(?:[-*•]|\(?\d{1,2}[.):])\s+/, "")
      .replace(/^(["'“*_]+)(.*?)["'”*_]+$/, "$2")
      .trim();
  return answer.split("\n").flatMap((line) => bare(line) || []);
}

/** Why a wording cannot stand for its question; undefined where it can. */
function faultOf(wording: string, { question, answer }: QaRow, names: readonly string[]): string | undefined {
  if (wording.length > 3 * question.length + 40 || !/\p{L}/u.test(wording) || /:$/.test(wording))
    return "were no question";
  if (isRefusal(wording)) return "refused to ask";
  const [asked, worded] = [tokensOf(question), tokensOf(wording)];
  const lost = names.some((name) => !isAbout(wording, name)) || [...asked].some((token) => !worded.has(token));
  if (lost) return "lacked a name or number of the question";
  const told = tokensOf(answer);
  if ([...told].some((token) => worded.has(token) && !asked.has(token))) return "told the answer";
  return [...worded].some((token) => !asked.has(token)) ? "had a name or number that the question has not" : undefined;
}

/** The names and numbers of a text: words with a digit, and capitalised ones that begin no sentence. */
function tokensOf(text: string): ReadonlySet<string> {
  const words = [...text.matchAll(/[\p{L}\p{N}][\p{L}\p{N}'’.,:-]*/gu)].flatMap(({ 0: word, index }) => {
    const bare = word.replace(/['’]s$/, "").replace(/['’.,:-]+$/, "");
    const before = text.slice(0, index).trimEnd();
    const first = before === "" || /[.!?:"“]$/.test(before);
    const isName = /^\p{Lu}/u.test(bare) && !first && bare !== "I" && !/^I['’]/.test(bare);
    return /\p{N}/u.test(bare) || isName ? [bare] : [];
  });
  return new Set(words);
}
