import { describeDataset, loadDataset } from "../data/dataset.js";
import { nodePlatform } from "../node/platform.js";
import { readChunks } from "../platform/platform.js";
import { previewJson, previewRow, previewSummary } from "../recipes/preview.js";
import { speakingAs } from "../recipes/training-rows.js";
import { createChatTemplate } from "../tokenizers/chat-template.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { openModel } from "../weights/model-folder.js";
import { loadConfig } from "./configs.js";
import { type Action, EXIT } from "./io.js";
import { numberOption } from "./model-options.js";
import { renderPreviewRow, renderPreviewSummary, wantsColour } from "./preview-text.js";
import { allOverrides } from "./train.js";

/** Rows shown to people unless --rows says otherwise. */
const SHOWN = 5;

export const preview: Action = async (overrides, options, io) => {
  const rows = options.rows === undefined ? undefined : numberOption(options, "rows", { least: 1, whole: true });
  const config = await loadConfig(options.config as string | undefined, allOverrides(options, overrides));
  const platform = nodePlatform();
  const { data } = config;
  const base = await openModel(platform.files, platform.resolveModel(config.base));
  try {
    const { tokenizer: files } = speakingAs(base, config);
    const tokenizer = createTokenizer(files);
    const chat = () => createChatTemplate(files, tokenizer, { runner: platform.templates });
    const source = readChunks(platform.files, platform.resolveData(data.train));
    const { vocabSize } = base.config;
    const dataset = await loadDataset(source, { tokenizer, chat, vocabSize }, { ...data, name: data.train });
    if (options.json) {
      for (const line of describeDataset(dataset)) io.err(`${line}\n`);
      for (const sample of dataset.samples.slice(0, rows)) io.out(`${previewJson(sample)}\n`);
      return EXIT.ok;
    }
    const colour = wantsColour(process.stdout.isTTY === true, process.env);
    for (const sample of dataset.samples.slice(0, rows ?? SHOWN)) {
      (io.raw ?? io).out(`${renderPreviewRow(previewRow(sample, tokenizer), { colour })}\n`);
    }
    const batching = {
      batchSize: config.batchSize,
      accumulation: config.gradientAccumulationSteps,
      packing: data.packing,
      maxSeqLen: data.maxSeqLen,
      shuffle: data.shuffle,
      seed: config.seed,
    };
    io.out(renderPreviewSummary(previewSummary(dataset, batching)));
    return EXIT.ok;
  } finally {
    await base.close();
    await platform.dispose();
  }
};
