import { type Sample, together } from "../data/sample.js";
import type { Platform } from "../platform/platform.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { filesOf } from "../recipes/train-files.js";
import { batchesOf, type Rows, readRows, speakingAs } from "../recipes/training-rows.js";
import { UserError } from "../tensor/index.js";
import { createTokenizer, type Tokenizer } from "../tokenizers/tokenizer.js";
import { openModel } from "../weights/model-folder.js";

/** A config's rows as its model sees them. */
export interface Reading {
  readonly rows: Rows;
  readonly tokenizer: Tokenizer;
  readonly stepsPerEpoch: number;
}

/** Reads rows; those that were read last are kept, as a page asks for them a screen at a time. Others that are still read are left. */
export interface Readings {
  /** Throws UserError for a base that is not there and rows that cannot be read. */
  read(config: TrainConfig): Promise<Reading>;
}

export function createReadings(platform: Platform): Readings {
  let last: { readonly key: string; readonly reading: Promise<Reading>; readonly control: AbortController } | undefined;
  return {
    async read(config) {
      const key = await keyOf(config, platform);
      if (last?.key === key) return last.reading;
      last?.control.abort(new UserError("other rows were asked for meanwhile", { code: "interrupted" }));
      const control = new AbortController();
      const reading = readAll(config, platform, control.signal);
      last = { key, reading, control };
      reading.catch(() => {
        if (last?.reading === reading) last = undefined;
      });
      return reading;
    },
  };
}

async function readAll(config: TrainConfig, platform: Platform, signal: AbortSignal): Promise<Reading> {
  const base = await openModel(platform.files, platform.resolveModel(config.base));
  try {
    const { tokenizer: files } = speakingAs(base, config);
    const tokenizer = createTokenizer(files);
    const rows = await readRows(config, platform, files, { tokenizer, vocabSize: base.config.vocabSize }, signal);
    return { rows, tokenizer, stepsPerEpoch: batchesOf(config, rows).stepsPerEpoch };
  } finally {
    await base.close();
  }
}

/** What decides how rows are read, the state of their files among it. */
async function keyOf(config: TrainConfig, { files, resolveData }: Platform): Promise<string> {
  const { base, data, objective, seed, batchSize, gradientAccumulationSteps } = config;
  const paths = [...filesOf(data.train).map(({ path }) => path), data.validation].filter(
    (path) => typeof path === "string",
  );
  const states = await Promise.all(paths.map(async (path) => files.stat(resolveData(path)).catch(() => undefined)));
  return JSON.stringify([base, data, objective, seed, batchSize, gradientAccumulationSteps, states]);
}

/** Rows that are the same to the model: those that are there more than once, and validation rows that are trained on. */
export interface Repeats {
  /** Rows of the same text, each list at least two, by their numbers. */
  readonly duplicates: readonly (readonly number[])[];
  /** Validation rows whose text, or at least whose prompt, is trained on. */
  readonly leaks: readonly { readonly validation: number; readonly train: number; readonly what: "row" | "prompt" }[];
}

/** Finds them by their tokens. O(tokens). */
export function findRepeats({ train, validation }: Pick<Rows, "train" | "validation">): Repeats {
  const byRow = new Map<string, number[]>();
  const byPrompt = new Map<string, number>();
  for (const sample of train) {
    const key = keyOfRow(sample);
    const same = byRow.get(key);
    if (same) same.push(sample.index);
    else byRow.set(key, [sample.index]);
    const prompt = promptOf(sample);
    if (prompt !== undefined && !byPrompt.has(prompt)) byPrompt.set(prompt, sample.index);
  }
  const leaks = validation.flatMap((sample): Repeats["leaks"] => {
    const [same] = byRow.get(keyOfRow(sample)) ?? [];
    if (same !== undefined) return [{ validation: sample.index, train: same, what: "row" }];
    const asked = byPrompt.get(promptOf(sample) ?? "");
    return asked === undefined ? [] : [{ validation: sample.index, train: asked, what: "prompt" }];
  });
  const repeated = [...byRow.values()].filter((rows) => new Set(rows).size > 1);
  return { duplicates: repeated, leaks };
}

/** Two rows have the same when their tokens and targets are the same, those of what stands beside them too. */
const keyOfRow = (sample: Sample): string =>
  together([sample])
    .map(({ ids, supervised }) => `${ids.join(",")}|${supervised.join("")}`)
    .join("/");

/** What stands before the first target; undefined where there is nothing, or no target. */
function promptOf({ ids, supervised }: Sample): string | undefined {
  const first = supervised.indexOf(1);
  return first > 1 ? ids.subarray(0, first).join(",") : undefined;
}

/** How many sequences have which length, in at most twelve bins of the same width. */
export function histogram(lengths: readonly number[]): { from: number; to: number; count: number }[] {
  if (lengths.length === 0) return [];
  const [least, most] = lengths.reduce(([a, b], n) => [Math.min(a, n), Math.max(b, n)], [Infinity, 0] as [
    number,
    number,
  ]);
  const width = Math.max(1, Math.ceil((most - least + 1) / 12));
  const bins = Array.from({ length: Math.ceil((most - least + 1) / width) }, (_, i) => ({
    from: least + i * width,
    to: least + (i + 1) * width - 1,
    count: 0,
  }));
  for (const length of lengths) bins[Math.floor((length - least) / width)]!.count++;
  return bins;
}
