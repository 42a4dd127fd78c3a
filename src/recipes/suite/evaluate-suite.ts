import type { LoadedAdapter, LoadedModel } from "../model.js";
import { answerAll, type Judged } from "./answers.js";
import { asksInChat } from "./asks-in-chat.js";
import { type Asked, type Figure, figuresOf } from "./figures.js";
import { readSuite } from "./suite-file.js";
import { readTexts, scoreTexts, type TextOptions, type TextScore } from "./text.js";

export interface SuiteOptions extends Omit<TextOptions, "onText"> {
  /**
   * Questions are asked through the chat template; false: they are texts to go on with. The suite's own `apply_chat_template` goes before it.
   * Default: as the rows of the adapter's run were, and through the template where there is one and that is not known.
   */
  readonly chat?: boolean;
  /** Told how much of the work is done: questions asked and texts read. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What a suite found, with every answer behind every figure. */
export interface SuiteResult {
  readonly name: string;
  readonly suite: string;
  /** Its questions were asked through the chat template. */
  readonly chat: boolean;
  readonly base: string;
  readonly adapter?: string;
  readonly figures: readonly Figure[];
  readonly answers: readonly Asked[];
  readonly texts: readonly TextScore[];
}

/**
 * Asks every question of a suite, reads its general texts and counts: with the adapter off and, where one is given, on. Answers
 * are greedy. Throws UserError for a file that is no suite (docs/suites.md), texts that cannot be read, and a system message
 * where questions are asked without a chat template.
 */
export async function evaluateSuite(
  model: LoadedModel,
  path: string,
  options: SuiteOptions = {},
): Promise<SuiteResult> {
  const { adapter } = options;
  const [result] = await evaluateEach(model, path, adapter ? [adapter] : [], options);
  return result!;
}

/** The same for several adapters, or strengths of one: a result each, the base asked once. Without any: the base's own. */
export async function evaluateEach(
  model: LoadedModel,
  path: string,
  adapters: readonly LoadedAdapter[],
  options: Omit<SuiteOptions, "adapter">,
): Promise<SuiteResult[]> {
  const { onProgress, ...others } = options;
  const [first] = adapters;
  let [done, total] = [0, 0];
  const onAnswer = () => onProgress?.(++done, total);
  const suite = await openSuite(model, path, { ...others, onAnswer, ...(first ? { adapter: first } : {}) });
  total = suite.work(adapters.length);
  if (!first) return [await suite.ask()];
  const results: SuiteResult[] = [];
  for (const adapter of adapters) results.push(await suite.ask(adapter));
  return results;
}

/** A suite that is asked again and again, of one base and its adapters. */
export interface OpenSuite {
  /** Answers and texts of so many adapters, the base's own among them. */
  work(adapters: number): number;
  /** What it finds with an adapter, or the base alone. The base's answers are those of the first time. */
  ask(adapter?: LoadedAdapter, signal?: AbortSignal): Promise<SuiteResult>;
}

/** Reads a suite and its texts to be asked. `adapter`: whose chat template general texts that are conversations are written by. */
export async function openSuite(
  model: LoadedModel,
  path: string,
  {
    onAnswer,
    signal: usual,
    chat: given,
    ...options
  }: Omit<SuiteOptions, "onProgress"> & { readonly onAnswer?: () => void } = {},
): Promise<OpenSuite> {
  const suite = await readSuite(model.platform, path);
  const samples = await readTexts(model, suite, { ...options, ...(usual ? { signal: usual } : {}) });
  let before: readonly Judged[] | undefined;
  let chat: boolean | undefined;
  return {
    work: (adapters) => suite.questions.length * (adapters + 1) + samples.length * Math.max(1, adapters),
    ask: (adapter, signal = usual) =>
      undisturbed(model, async () => {
        chat ??= await asksInChat(model, suite, { chat: given, adapter });
        const told = { ...(signal ? { signal } : {}), chat, onAnswer: () => onAnswer?.() };
        before ??= await answerAll(model, suite, told);
        const own = { ...told, ...(adapter ? { adapter } : {}) };
        const after = adapter && (await answerAll(model, suite, own));
        const texts = await scoreTexts(model, samples, { ...own, onText: told.onAnswer });
        const answers = suite.questions.map((question, i) => ({
          ...question,
          before: before![i]!,
          ...(after ? { after: after[i]! } : {}),
        }));
        const names = {
          name: suite.name,
          suite: path,
          chat,
          base: model.name,
          ...(adapter ? { adapter: adapter.path } : {}),
        };
        return { ...names, figures: figuresOf(answers, suite.behaviours, texts), answers, texts };
      }),
  };
}

/** Steps have two rows at least, so that no answer depends on which others are decoded beside it. */
export async function undisturbed<T>({ decoder }: LoadedModel, work: () => Promise<T>): Promise<T> {
  const { leastRows } = decoder;
  decoder.leastRows = Math.max(2, leastRows);
  try {
    return await work();
  } finally {
    decoder.leastRows = leastRows;
  }
}
