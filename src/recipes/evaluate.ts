import { inOrder } from "../data/batches.js";
import { type DatasetOptions, describeDataset, loadDataset } from "../data/dataset.js";
import type { Sample } from "../data/sample.js";
import { readChunks } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { Scorer } from "../training/scorer.js";
import { meanLoss } from "../training/validation.js";
import type { LoadedAdapter, LoadedModel } from "./model.js";

export interface EvaluateOptions
  extends Pick<DatasetOptions, "format" | "columns" | "trainOn" | "maxSeqLen" | "signal"> {
  /** Default: none, the base is evaluated. */
  readonly adapter?: LoadedAdapter;
  /** Told what was read. */
  readonly onNote?: (message: string) => void;
}

export interface Evaluation {
  /** Mean cross entropy per supervised token, in nats. */
  readonly loss: number;
  /** e to the loss. */
  readonly perplexity: number;
  readonly supervisedTokens: number;
}

/** The loss of a model on the rows of a file, or of several together. Throws UserError for rows that cannot be read, and for a loss that is not finite. */
export async function evaluate(
  model: LoadedModel,
  paths: string | readonly string[],
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { adapter, onNote, ...rows } = options;
  const { platform, tokenizer, resident, pipeline } = model;
  const chat = adapter?.chat ?? model.chat;
  const { vocabSize } = resident.config;
  const samples: Sample[] = [];
  let supervisedTokens = 0;
  for (const name of [paths].flat()) {
    const source = readChunks(platform.files, platform.resolveData(name));
    const dataset = await loadDataset(source, { tokenizer, chat, vocabSize }, { name, ...rows });
    for (const line of describeDataset(dataset)) onNote?.(line);
    samples.push(...dataset.samples);
    supervisedTokens += dataset.report.supervisedTokens;
  }
  const scorer = new Scorer(resident, { adapter: adapter?.adapter, pipeline });
  try {
    const loss = await meanLoss(scorer, inOrder(samples, 1));
    if (!Number.isFinite(loss))
      throw new UserError(
        `${paths}: the loss is ${loss}; the weights of ${model.name} hold values that are not finite`,
        { code: "not_finite" },
      );
    return { loss, perplexity: Math.exp(loss), supervisedTokens };
  } finally {
    await scorer.dispose();
  }
}
