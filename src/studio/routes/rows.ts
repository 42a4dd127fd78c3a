import { z } from "zod";
import { type Sample, together, withTeachers } from "../../data/sample.js";
import { previewRow } from "../../recipes/preview.js";
import { chooseHyperparameters } from "../../server/fine-tuning/request.js";
import { findRepeats, histogram } from "../readings.js";
import { call } from "../route.js";
import { configOf, settingsSchema } from "../settings.js";

/** The most of a list that is given: a page shows no more. */
const MOST = 100;

export const rows = call({
  summary:
    "rows as the model sees them, token by token; lengths, what was cut or left out, duplicates, leaks into validation",
  request: z.strictObject({
    settings: settingsSchema,
    from: z.int("expected a whole number").min(0).default(0),
    count: z.int("expected a whole number").min(1).max(MOST).default(10),
    part: z.enum(["train", "validation"], "expected train or validation").default("train"),
  }),
  async answer({ host, readings }, { settings, from, count, part }) {
    const config = configOf(settings, host.home);
    const { rows: read, tokenizer, stepsPerEpoch } = await readings.read(config);
    const { duplicates, leaks } = findRepeats(read);
    const shown = read[part].slice(from, from + count);
    const lengths = together(read.train).map(({ ids }) => ids.length);
    return {
      files: read.reports.map(({ name, format, trainOn, rows, truncated }) => ({
        ...{ name, format, train_on: trainOn, rows, truncated },
      })),
      messages: read.messages,
      samples: { train: read.train.length, validation: read.validation.length },
      tokens: lengths.reduce((sum, length) => sum + length, 0),
      targets: together(read.train).reduce((sum, { supervised }) => sum + targetsIn(supervised), 0),
      steps_per_epoch: stepsPerEpoch,
      suggested: suggestedFor(read.train.length),
      max_seq_len: config.data.maxSeqLen,
      histogram: histogram(lengths),
      dropped: { count: read.dropped.length, rows: read.dropped.slice(0, MOST) },
      duplicates: { count: duplicates.length, rows: duplicates.slice(0, MOST) },
      leaks: { count: leaks.length, rows: leaks.slice(0, MOST) },
      page: shown.map((sample) => ({ index: sample.index, sequences: sequencesOf(sample, tokenizer) })),
    };
  },
});

/** A row's sequences: one, or of a pair both. A token is its text and its mark: 1 a target, 0 none. */
function sequencesOf(sample: Sample, tokenizer: Parameters<typeof previewRow>[1]) {
  return withTeachers(together([sample])).map((one) => {
    const { side, tokens } = previewRow(one, tokenizer);
    return { side: side ?? null, tokens: tokens.map(({ text, supervised }) => [text, supervised ? 1 : 0] as const) };
  });
}

/** Epochs and batches that teach so many rows in a short time: those that a job of OpenAI's API gets. */
function suggestedFor(samples: number) {
  const auto = { n_epochs: "auto", batch_size: "auto", learning_rate_multiplier: "auto" } as const;
  const usual = { batchSize: 4, gradientAccumulationSteps: 1 };
  const { n_epochs, batch_size } = chooseHyperparameters(auto, Math.max(1, samples), usual);
  return { epochs: n_epochs, batch_size };
}

const targetsIn = (supervised: Uint8Array): number => supervised.reduce((sum, mark) => sum + (mark === 1 ? 1 : 0), 0);
