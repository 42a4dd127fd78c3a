import { inOrder } from "../data/batches.js";
import { type DatasetOptions, describeDataset, loadDataset } from "../data/dataset.js";
import { type Blocks, type LoraConfig, linearNames } from "../models/index.js";
import { readChunks } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { BlockTrainer } from "../training/block-trainer.js";
import { zeroAdapter } from "../training/init.js";
import type { LoadedAdapter, LoadedModel } from "./model.js";
import { meanLoss } from "./train-loop.js";

export interface EvaluateOptions extends Pick<DatasetOptions, "format" | "trainOn" | "maxSeqLen" | "signal"> {
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

/** The loss of a model on a file of rows. Throws UserError for rows that cannot be read, and for a loss that is not finite. */
export async function evaluate(model: LoadedModel, path: string, options: EvaluateOptions = {}): Promise<Evaluation> {
  const { adapter, onNote, ...rows } = options;
  const { platform, tokenizer, resident } = model;
  const source = readChunks(platform.files, platform.resolveData(path));
  const chat = adapter?.chat ?? model.chat;
  const { vocabSize } = resident.config;
  const dataset = await loadDataset(source, { tokenizer, chat, vocabSize }, { name: path, ...rows });
  for (const line of describeDataset(dataset)) onNote?.(line);
  const lora = adapter?.adapter.config ?? noAdapter(resident.config);
  const trainer = new BlockTrainer(resident, {
    trainables: { kind: "lora", lora: { ...lora, dropout: 0 } },
    initial: adapter?.adapter.tensors ?? zeroAdapter(resident.config, lora).initial,
    optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
    seed: 0,
  });
  try {
    const loss = await meanLoss(trainer, inOrder(dataset.samples, 1));
    if (!Number.isFinite(loss))
      throw new UserError(`${path}: the loss is ${loss}; the weights of ${model.name} hold values that are not finite`);
    return { loss, perplexity: Math.exp(loss), supervisedTokens: dataset.report.supervisedTokens };
  } finally {
    await trainer.dispose();
  }
}

/** An adapter that adds exactly zero, in the last block alone: what the trainer needs to hold the bare base. */
function noAdapter(model: Blocks): LoraConfig {
  return {
    r: 1,
    alpha: 1,
    dropout: 0,
    useRslora: false,
    init: "gaussian",
    targetModules: linearNames(model).slice(0, 1),
    layersToTransform: [model.numHiddenLayers - 1],
  };
}
