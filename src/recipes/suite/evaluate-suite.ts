import type { LoadedAdapter, LoadedModel } from "../model.js";
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
  const { signal, onProgress } = options;
  const suite = await readSuite(model.platform, path);
  const [first] = adapters;
  const samples = await readTexts(model, suite, { ...options, ...(first ? { adapter: first } : {}) });
  const rounds = Math.max(1, adapters.length);
  const total = suite.questions.length * (adapters.length + 1) + samples.length * rounds;
  let done = 0;
  const told = { ...(signal ? { signal } : {}), onAnswer: () => onProgress?.(++done, total) };
  return undisturbed(model, async () => {
    const before = await answerAll(model, suite, told);
    const results: SuiteResult[] = [];
    for (const adapter of first ? adapters : [undefined]) {
      const after = adapter && (await answerAll(model, suite, { ...told, adapter }));
      const own = { ...options, ...(adapter ? { adapter } : {}), onText: told.onAnswer };
      const texts = await scoreTexts(model, samples, own);
      const answers = suite.questions.map((question, i) => ({
        ...question,
        before: before[i]!,
        ...(after ? { after: after[i]! } : {}),
      }));
      const names = { name: suite.name, suite: path, base: model.name, ...(adapter ? { adapter: adapter.path } : {}) };
      results.push({ ...names, figures: figuresOf(answers, suite.behaviours, texts), answers, texts });
    }
    return results;
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
