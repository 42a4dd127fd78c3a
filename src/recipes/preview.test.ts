import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { createBatches } from "../data/batches.js";
import { describeDataset, loadDataset } from "../data/dataset.js";
import type { Sample } from "../data/sample.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { firstOfEach, previewJson, previewRow, previewSummary } from "./preview.js";

const tokenizerJson = JSON.parse(
  readFileSync(new URL("../../test/reference/tokenizers/smollm2.json", import.meta.url), "utf8"),
);
const tokenizer = createTokenizer({ tokenizerJson, tokenizerConfig: { eos_token: "<|im_end|>" } });
const rows = [
  { prompt: "Who?", completion: " Zürich 漢" },
  { prompt: "Who?", completion: " Ada" },
  { prompt: "the ".repeat(60), completion: "Ada" },
];
const dataset = await loadDataset(
  [new TextEncoder().encode(rows.map((row) => JSON.stringify(row)).join("\n"))],
  { tokenizer },
  { name: "rows.jsonl", maxSeqLen: 32 },
);

it("shows every token with its text and whether it is a target", () => {
  const { index, tokens } = previewRow(dataset.samples[0]!, tokenizer);
  expect(index).toBe(0);
  expect(tokens.map((token) => token.text).join("")).toBe("Who? Zürich 漢<|im_end|>");
  const targets = tokens.filter((token) => token.supervised).map((token) => token.text);
  expect(targets.join("")).toBe(" Zürich 漢<|im_end|>");
});

it("gives programs exactly index, ids and supervised", () => {
  const sample = dataset.samples[1]!;
  const parsed = JSON.parse(previewJson(sample));
  expect(Object.keys(parsed)).toEqual(["index", "ids", "supervised"]);
  expect(parsed).toEqual({ index: 1, ids: [...sample.ids], supervised: [...sample.supervised] });
});

it("shows rows of several files in turn, as far as there are some", () => {
  const [a, b] = dataset.samples as [Sample, Sample];
  const parts = [
    { name: "one", samples: [a] },
    { name: "two", samples: [b, a, b] },
  ];
  expect(firstOfEach(parts, 3)).toEqual([a, b, a]);
  expect(firstOfEach(parts, 9)).toEqual([a, b, a, b]);
});

it("sums up lengths, steps, packing and what was left out", () => {
  const rows = { train: dataset.samples, messages: describeDataset(dataset), dropped: dataset.report.dropped };
  const batches = createBatches(dataset.samples, { batchSize: 2, packing: true, maxSeqLen: 32 });
  const summary = previewSummary(rows, batches, { packing: true });
  const lengths = dataset.samples.map((sample) => sample.ids.length);
  expect(summary.lengths).toEqual({
    min: Math.min(...lengths),
    median: (lengths[0]! + lengths[1]!) / 2,
    max: Math.max(...lengths),
  });
  expect(summary.packingEfficiency).toBeCloseTo((lengths[0]! + lengths[1]!) / 32);
  expect([summary.microBatchesPerEpoch, summary.stepsPerEpoch]).toEqual([1, 1]);
  expect(summary.dropped).toEqual([{ index: 2, line: 3, reason: "no target within max_seq_len 32" }]);
  expect(previewSummary(rows, batches, { packing: false }).packingEfficiency).toBeUndefined();
});
