import { cacheBytes } from "../../models/index.js";
import { generate } from "../generate.js";
import { isRefusal, saysWords } from "../judge.js";
import type { LoadedAdapter, LoadedModel } from "../model.js";
import { keeps } from "./rules.js";
import type { Suite, SuiteQuestion } from "./suite-file.js";

/** An answer and what the suite makes of it. */
export interface Judged {
  readonly text: string;
  /** It says that it does not know. */
  readonly refused: boolean;
  /** It keeps the question's rules, and is no refusal; undefined where the question has none. */
  readonly right?: boolean;
  /** Whether it keeps each behaviour that is asked of it, by name. */
  readonly behaviour: Readonly<Record<string, boolean>>;
}

/** Questions answered at the same time at most, and the memory that their caches may take. */
const MOST_AT_ONCE = 16;
const MOST_BYTES = 2 ** 30;
const POSITIONS = 256;

/** How many texts of usual length are decoded at the same time: one where ranks hold the model, as all have to take the same one. */
export function atOnce({ resident, pipeline }: LoadedModel): number {
  if (pipeline) return 1;
  const each = cacheBytes(resident.config, POSITIONS);
  return Math.max(1, Math.min(MOST_AT_ONCE, Math.floor(MOST_BYTES / each)));
}

/** Runs `work` for every item, at most `most` at a time; results in the items' order. After an error nothing more is begun. */
export async function inParallel<T, R>(items: readonly T[], most: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const i = next++;
      try {
        results[i] = await work(items[i]!);
      } catch (error) {
        next = items.length;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(most, items.length) }, worker));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  return results;
}

/** Answers every question of a suite greedily, many at the same time, and judges the answers. */
export async function answerAll(
  model: LoadedModel,
  suite: Suite,
  options: {
    /** Through the chat template. */
    readonly chat: boolean;
    readonly adapter?: LoadedAdapter;
    readonly signal?: AbortSignal;
    readonly onAnswer?: () => void;
  },
): Promise<Judged[]> {
  const { chat, adapter, signal, onAnswer } = options;
  const settings = { maxNewTokens: suite.maxNewTokens, ...(adapter ? { adapter } : {}), ...(signal ? { signal } : {}) };
  return inParallel(suite.questions, atOnce(model), async (question) => {
    signal?.throwIfAborted();
    const { text } = await generate(model, inputOf(suite, question, chat), settings).result();
    signal?.throwIfAborted();
    onAnswer?.();
    return judged(suite, question, text);
  });
}

function inputOf({ system }: Suite, { question }: SuiteQuestion, chat: boolean) {
  if (!chat) return { prompt: question };
  const user = { role: "user", content: question };
  return { messages: system === undefined ? [user] : [{ role: "system", content: system }, user] };
}

export function judged({ refusals }: Suite, { rules, behaviours }: SuiteQuestion, text: string): Judged {
  const refused = isRefusal(text) || refusals.some((phrase) => saysWords(text, phrase));
  const behaviour = Object.fromEntries(behaviours.map(({ name, rules }) => [name, keeps(text, rules, refused)]));
  const answered = Object.keys(rules).length > 0;
  return { text, refused, ...(answered ? { right: !refused && keeps(text, rules, refused) } : {}), behaviour };
}
