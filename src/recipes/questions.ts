import type { Adapter } from "../formats/peft/adapter.js";
import type { Platform } from "../platform/platform.js";
import type { HostTensor } from "../tensor/index.js";
import type { Details } from "../training/metrics.js";
import { bestMetricOf, SUITE, suiteDetails, unknownMetric } from "./best.js";
import type { TrainConfig } from "./config-schema.js";
import type { SampleAnswers } from "./events.js";
import { type LoadedModel, placeAdapter } from "./model.js";
import { answerPrompts, readPrompts } from "./samples.js";
import { type OpenSuite, openSuite, undisturbed } from "./suite/evaluate-suite.js";
import { figureKeys } from "./suite/figures.js";
import { readSuite } from "./suite/suite-file.js";

/** What a run asks of its model at an evaluation. */
export interface Questions {
  readonly suite: string | null;
  readonly prompts: readonly string[] | undefined;
  readonly maxNewTokens: number;
}

/** What they found, of the adapter as it is. */
export interface Found {
  /** The suite's figures by their names in metrics.jsonl, without `eval_`. */
  readonly figures: Details;
  readonly samples: readonly SampleAnswers[];
}

/**
 * Reads what a config asks at evaluations, before anything is loaded; undefined where it asks nothing. Throws UserError for files
 * that cannot be read, and for a best figure that the suite does not give.
 */
export async function readQuestions(config: TrainConfig, platform: Platform): Promise<Questions | undefined> {
  const { evalSuite: suite, samples } = config;
  const prompts = await readPrompts(config, platform);
  if (suite === null && prompts === undefined) return undefined;
  if (suite !== null) {
    const known = [...figureKeys(await readSuite(platform, suite)), "score"].map((key) => `${SUITE}${key}`);
    const { name } = bestMetricOf(config)!;
    if (name.startsWith(SUITE) && !known.includes(name)) throw unknownMetric(name, known);
  }
  return { suite, prompts, maxNewTokens: samples.maxNewTokens };
}

/** Asks questions of a base and what is being trained on it, as the rows are that it learns from. The base is asked once, when it is first needed. */
export function asking(
  model: LoadedModel,
  {
    suite,
    prompts = [],
    maxNewTokens,
    chat,
    maxSeqLen,
  }: Questions & { readonly chat: boolean; readonly maxSeqLen: number },
  adapterOf: (parameters: ReadonlyMap<string, HostTensor>) => Promise<Adapter>,
): (parameters: ReadonlyMap<string, HostTensor>) => Promise<Found> {
  const settings = { maxNewTokens, chat };
  let opened: OpenSuite | undefined;
  let base: readonly string[] | undefined;
  return async (parameters) => {
    const adapter = await placeAdapter(model, "the adapter", await adapterOf(parameters));
    try {
      if (suite !== null) opened ??= await openSuite(model, suite, { chat, maxSeqLen });
      const figures = opened ? suiteDetails((await opened.ask(adapter)).figures) : {};
      const answers = await undisturbed(model, async () => {
        base ??= await answerPrompts(model, prompts, settings);
        return answerPrompts(model, prompts, { ...settings, adapter });
      });
      const samples = prompts.map((prompt, i) => ({ prompt, base: base![i]!, adapter: answers[i]! }));
      return { figures, samples };
    } finally {
      adapter.dispose();
    }
  };
}
