import { together, withTeachers } from "../data/sample.js";
import type { ModelConfig } from "../models/index.js";
import { nodePlatform } from "../node/platform.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { firstOfEach, previewJson, previewRow, previewSummary } from "../recipes/preview.js";
import { batchesOf, readRows, speakingAs } from "../recipes/training-rows.js";
import { createTokenizer, type Tokenizer } from "../tokenizers/tokenizer.js";
import { openModel } from "../weights/model-folder.js";
import { allOverrides, loadConfig } from "./configs.js";
import { type Action, EXIT } from "./io.js";
import { numberOption } from "./option-values.js";
import { renderPreviewRow, renderPreviewSummary, wantsColour } from "./preview-text.js";

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
    const reader = { tokenizer, vocabSize: base.config.vocabSize };
    const whole = { ...config, data: { ...data, validation: null } };
    const read = await readRows(whole, platform, files, reader, undefined);
    if (options.json) {
      for (const line of read.messages) io.err(`${line}\n`);
      for (const sample of withTeachers(together(read.train.slice(0, rows)))) io.out(`${previewJson(sample)}\n`);
      return EXIT.ok;
    }
    const colour = wantsColour(process.stdout.isTTY === true, process.env);
    for (const sample of withTeachers(together(firstOfEach(read.parts, rows ?? SHOWN)))) {
      (io.raw ?? io).out(`${renderPreviewRow(previewRow(sample, tokenizer), { colour })}\n`);
    }
    const said = { ...read, messages: [...read.messages, ...(await trainedWholeOf(config, base.config, tokenizer))] };
    io.out(renderPreviewSummary(previewSummary(said, batchesOf(config, read), data)));
    return EXIT.ok;
  } finally {
    await base.close();
    await platform.dispose();
  }
};

/** What of the base is trained whole beside the adapter, a line each; rows are shown of any config, so nothing else of it is looked at. */
async function trainedWholeOf(config: TrainConfig, model: ModelConfig, tokenizer: Tokenizer): Promise<string[]> {
  const { modulesToSave, trainableTokenIndices } = config.lora;
  if (config.fullFinetune || !(modulesToSave?.length || trainableTokenIndices?.length)) return [];
  const { freshLora } = await import("../recipes/start-values.js");
  const { trainedWhole } = await import("../recipes/trained-whole.js");
  return trainedWhole({ kind: "lora", lora: freshLora(config, model) }, model, tokenizer);
}
