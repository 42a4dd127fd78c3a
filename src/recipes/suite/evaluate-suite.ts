import type { LoadedModel } from "../model.js";
import { answerAll } from "./answers.js";
import { type Asked, type Figure, figuresOf } from "./figures.js";
import { readSuite } from "./suite-file.js";
import { readTexts, scoreTexts, type TextOptions, type TextScore } from "./text.js";

export interface SuiteOptions extends Omit<TextOptions, "onText"> {
  /** Told how much of the work is done: questions asked and texts read. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What a suite found, with every answer behind every figure. */
export interface SuiteResult {
  readonly name: string;
  readonly suite: string;
  readonly base: string;
  readonly adapter?: string;
  readonly figures: readonly Figure[];
  readonly answers: readonly Asked[];
  readonly texts: readonly TextScore[];
}

/**
 * Asks every question of a suite, reads its general texts and counts: with the adapter off and, where one is given, on. Answers
 * are greedy. Throws UserError for a file that is no suite (docs/suites.md), texts that cannot be read, and a base without a
 * chat template.
 */
export async function evaluateSuite(
  model: LoadedModel,
  path: string,
  options: SuiteOptions = {},
): Promise<SuiteResult> {
  const { adapter, signal, onProgress } = options;
  const suite = await readSuite(model.platform, path);
  const samples = await readTexts(model, suite, options);
  const { questions, behaviours } = suite;
  const total = questions.length * (adapter ? 2 : 1) + samples.length;
  let done = 0;
  const onAnswer = () => onProgress?.(++done, total);
  const stoppable = signal ? { signal } : {};
  return undisturbed(model, async () => {
    const before = await answerAll(model, suite, { ...stoppable, onAnswer });
    const after = adapter && (await answerAll(model, suite, { ...stoppable, onAnswer, adapter }));
    const texts = await scoreTexts(model, samples, { ...options, onText: onAnswer });
    const answers = questions.map((question, i) => ({
      ...question,
      before: before[i]!,
      ...(after ? { after: after[i]! } : {}),
    }));
    const figures = figuresOf(answers, behaviours, texts);
    const names = { name: suite.name, suite: path, base: model.name, ...(adapter ? { adapter: adapter.path } : {}) };
    return { ...names, figures, answers, texts };
  });
}

/** Steps have two rows at least, so that no answer depends on which others are decoded beside it. */
async function undisturbed<T>({ decoder }: LoadedModel, work: () => Promise<T>): Promise<T> {
  const { leastRows } = decoder;
  decoder.leastRows = Math.max(2, leastRows);
  try {
    return await work();
  } finally {
    decoder.leastRows = leastRows;
  }
}
