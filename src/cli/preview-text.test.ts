import { expect, it } from "vitest";
import { inert, renderPreviewRow, renderPreviewSummary, wantsColour } from "./preview-text.js";

const row = {
  index: 3,
  tokens: [
    { id: 1, text: "Q", supervised: false },
    { id: 2, text: "\n", supervised: false },
    { id: 3, text: "A", supervised: true },
    { id: 4, text: "\u001b[2J</s>", supervised: true },
  ],
};

it("marks targets with colour on a terminal and with brackets elsewhere", () => {
  expect(renderPreviewRow(row, { colour: false })).toBe("row 3: 4 tokens, 2 targets\nQ↵\n⟦A␛[2J</s>⟧\n");
  expect(renderPreviewRow(row, { colour: true })).toBe(
    "row 3: 4 tokens, 2 targets\n\u001b[2mQ↵\n\u001b[0m\u001b[32mA␛[2J</s>\u001b[0m\n",
  );
});

it("markup and control characters in a dataset row: inert", () => {
  const nasty = "\u001b]0;title\u0007 \u009b31m \u202egnp.exe \u200bzero \r over \ufeff \u2028 👩‍👧 \t é";
  const shown = inert(nasty);
  expect(shown).toBe("␛]0;title␇ <U+009B>31m <U+202E>gnp.exe <U+200B>zero ␍ over <U+FEFF> <U+2028> 👩<U+200D>👧 ␉ é");
});

it("colours only terminals that want it", () => {
  expect(wantsColour(true, {})).toBe(true);
  expect(wantsColour(false, {})).toBe(false);
  expect(wantsColour(true, { NO_COLOR: "1" })).toBe(false);
  expect(wantsColour(true, { TERM: "dumb" })).toBe(false);
});

it("sums up in lines", () => {
  const text = renderPreviewSummary({
    lines: ["rows.jsonl: 3 of 4 rows"],
    lengths: { min: 2, median: 5.5, max: 9 },
    microBatchesPerEpoch: 3,
    stepsPerEpoch: 2,
    packingEfficiency: 0.987,
    dropped: [],
  });
  expect(text).toBe(
    "rows.jsonl: 3 of 4 rows\nlengths: 2 to 9 tokens, median 5.5\nan epoch: 3 micro-batches, 2 steps\npacking: rows 98.7% full\n",
  );
});
