import { type Batches, createBatches, splitValidation } from "../data/batches.js";
import { type Dataset, describeDataset, loadDataset } from "../data/dataset.js";
import type { Sample } from "../data/sample.js";
import { type Platform, readChunks } from "../platform/platform.js";
import { createChatTemplate } from "../tokenizers/chat-template.js";
import type { TokenizerFiles } from "../tokenizers/files.js";
import { withTemplateArguments } from "../tokenizers/template-arguments.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { OpenModel } from "../weights/model-folder.js";
import type { TrainConfig } from "./config-schema.js";

export interface Rows {
  readonly train: readonly Sample[];
  readonly validation: readonly Sample[];
  readonly messages: readonly string[];
}

/** A base that writes conversations as a config has it: with the arguments that the config gives its chat template. */
export function speakingAs(base: OpenModel, { data }: TrainConfig): OpenModel {
  return { ...base, tokenizer: withTemplateArguments(base.tokenizer, data.chatTemplateKwargs) };
}

/** Training and validation rows as samples, and what there is to say about them. */
export async function readRows(
  { data, seed }: TrainConfig,
  platform: Platform,
  files: TokenizerFiles,
  { tokenizer, vocabSize }: { readonly tokenizer: Tokenizer; readonly vocabSize: number },
  signal: AbortSignal | undefined,
): Promise<Rows> {
  const chat = () => createChatTemplate(files, tokenizer, { runner: platform.templates });
  const context = { tokenizer, chat, vocabSize };
  const { validation } = data;
  const read = (path: string): Promise<Dataset> =>
    loadDataset(readChunks(platform.files, platform.resolveData(path)), context, {
      name: path,
      ...data,
      ...(signal ? { signal } : {}),
    });
  const dataset = await read(data.train);
  const messages = describeDataset(dataset);
  if (validation === null) return { train: dataset.samples, validation: [], messages };
  if (typeof validation === "number") {
    const parts = splitValidation(dataset.samples, validation, seed);
    return { ...parts, messages: [...messages, `${parts.validation.length} rows are held back for validation`] };
  }
  const held = await read(validation);
  return { train: dataset.samples, validation: held.samples, messages: [...messages, ...describeDataset(held)] };
}

/** The rows in the batches that a config asks for. */
export function batchesOf(config: TrainConfig, rows: readonly Sample[]): Batches {
  return createBatches(rows, {
    batchSize: config.batchSize,
    accumulation: config.gradientAccumulationSteps,
    packing: config.data.packing,
    maxSeqLen: config.data.maxSeqLen,
    shuffle: config.data.shuffle,
    seed: config.seed,
  });
}
