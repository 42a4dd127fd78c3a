import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createChatTemplate, directRunner } from "../tokenizers/chat-template.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { createBatches, inOrder, splitValidation } from "./batches.js";
import { type DatasetOptions, loadDataset } from "./dataset.js";
import { type Sample, together } from "./sample.js";

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));
const files = {
  tokenizerJson: read("../../test/reference/tokenizers/smollm2.json"),
  tokenizerConfig: { bos_token: "<|im_start|>", eos_token: "<|im_end|>" },
  chatTemplate:
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
};
const tokenizer = createTokenizer(files);
const context = { tokenizer, chat: () => createChatTemplate(files, tokenizer, { runner: directRunner }) };

function load(rows: readonly object[], options: Partial<DatasetOptions> = {}) {
  const lines = rows.map((row) => JSON.stringify(row)).join("\n");
  return loadDataset([new TextEncoder().encode(lines)], context, { name: "rows.jsonl", rows: "pairs", ...options });
}
const text = (ids: Iterable<number>) => tokenizer.decode([...ids], { skipSpecialTokens: false });
const parts = ({ ids, supervised, side }: Sample) => {
  const start = supervised.indexOf(1);
  expect(supervised.subarray(start)).toEqual(new Uint8Array(ids.length - start).fill(1));
  return [side, text(ids.subarray(0, start)), text(ids.subarray(start))];
};
async function sidesOf(row: object, options: Partial<DatasetOptions> = {}) {
  const { samples } = await load([row], options);
  expect(samples).toHaveLength(1);
  return together(samples).map(parts);
}

const user = (content: string) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });
const [ask, yes, no] = [user("Next ferry?"), assistant("At nine."), assistant("Never.")];
const prompt = "<|im_start|>user\nNext ferry?<|im_end|>\n<|im_start|>assistant\n";
const conversation = [
  ["chosen", prompt, "At nine.<|im_end|>\n"],
  ["rejected", prompt, "Never.<|im_end|>\n"],
];

describe("a pair is two sequences behind one prompt", () => {
  it.each([
    ["prompt and answers", { prompt: [ask], chosen: [yes], rejected: [no] }],
    ["the prompt at the beginning of both", { chosen: [ask, yes], rejected: [ask, no] }],
    ["a prompt that repeats the question", { prompt: "Next ferry?", chosen: [ask, yes], rejected: [ask, no] }],
    ["OpenAI's", { input: { messages: [ask] }, preferred_output: [yes], non_preferred_output: [no] }],
  ])("%s, as messages", async (_, row) => {
    expect(await sidesOf(row)).toEqual(conversation);
  });

  it("texts end with EOS; a common beginning ends before a space, as in TRL", async () => {
    const expected = [
      ["chosen", "Next ferry?", " At nine.<|im_end|>"],
      ["rejected", "Next ferry?", " Never.<|im_end|>"],
    ];
    expect(await sidesOf({ prompt: "Next ferry?", chosen: " At nine.", rejected: " Never." })).toEqual(expected);
    expect(await sidesOf({ chosen: "Next ferry? At nine.", rejected: "Next ferry? Never." })).toEqual(expected);
  });

  it("a system prompt and OpenAI's unread fields", async () => {
    const [chosen] = await sidesOf({ system: "Short.", prompt: [ask], chosen: [yes], rejected: [no] });
    expect(chosen![1]).toContain("system\nShort.<|im_end|>");
    const { report } = await load([
      { input: { messages: [ask], parallel_tool_calls: true }, preferred_output: [yes], non_preferred_output: [no] },
    ]);
    expect(report.notes).toEqual(["fields of rows that nothing reads: input.parallel_tool_calls: not used"]);
  });

  it("a judged answer is one", async () => {
    const row = { prompt: [ask], completion: [yes] };
    expect(await sidesOf({ ...row, label: true }, { rows: "judged" })).toEqual([
      ["desirable", ...conversation[0]!.slice(1)],
    ]);
    expect(await sidesOf({ ...row, label: 0 }, { rows: "judged" })).toEqual([
      ["undesirable", ...conversation[0]!.slice(1)],
    ]);
  });
});

describe("rows that cannot be preferred are refused, with why", () => {
  it.each([
    [{ prompt: [ask], chosen: [yes], rejected: [yes] }, /rows.jsonl:1: chosen and rejected are the same/],
    [{ prompt: "Q", chosen: "A", rejected: "A" }, /chosen and rejected are the same/],
    [{ chosen: [yes], rejected: [no] }, /there is no prompt/],
    [{ prompt: [ask], chosen: [ask], rejected: [no] }, /chosen has no assistant turn/],
    [{ prompt: "Other?", chosen: [ask, yes], rejected: [ask, no] }, /prompt is string beside answers that are lists/],
    [{ prompt: "Q", chosen: [yes], rejected: "A" }, /expected texts, or lists of messages/],
    [{ chosen: "Yes, sir", rejected: "Yes" }, /rejected is empty behind the prompt/],
    [{ input: {}, preferred_output: [yes], non_preferred_output: [no] }, /input.messages must be a list of messages/],
    [{ messages: [ask, yes] }, /its keys are messages; expected one of \{"prompt": "...", "chosen"/],
  ])("%j", async (row, message) => {
    await expect(load([row])).rejects.toThrow(message);
  });

  it("rows of another kind than the objective's", async () => {
    await expect(load([{ prompt: "Q", completion: "A", label: "good" }], { rows: "judged" })).rejects.toThrow(
      'label is "good"; expected true',
    );
    await expect(load([{ prompt: "Q", chosen: "A", rejected: "B" }], { rows: "texts" })).rejects.toThrow(
      "it is a preference row (chosen and rejected), and cross entropy learns from single answers: set objective.name",
    );
    await expect(load([{ text: "A" }], { format: "text" })).rejects.toThrow(
      "data.format: rows of the format text are single texts and conversations, and the objective learns from pairs",
    );
  });
});

describe("a pair stays together", () => {
  const rows = Array.from({ length: 9 }, (_, i) => ({
    prompt: `Question ${i}?`,
    chosen: ` ${"yes ".repeat(1 + (i % 4))}${i}`,
    rejected: ` no ${i}`,
  }));

  it.each([{ packing: false }, { packing: true }])("in micro-batches, shuffled: %j", async ({ packing }) => {
    const { samples } = await load(rows);
    const longest = Math.max(...together(samples).map(({ ids }) => ids.length));
    const options = { batchSize: 2, accumulation: 2, packing, maxSeqLen: longest, seed: 3 };
    const batches = createBatches(samples, options);
    const epoch = Array.from({ length: batches.stepsPerEpoch }, () => batches.next()).flat();
    for (const batch of epoch) {
      const sides = batch.map(({ index, side }) => `${index} ${side}`);
      expect(sides).toEqual(
        batch.flatMap(({ index, side }) => (side === "chosen" ? [`${index} chosen`, `${index} rejected`] : [])),
      );
    }
    expect(
      epoch
        .flat()
        .map(({ index }) => index)
        .sort((a, b) => a - b),
    ).toEqual(rows.flatMap((_, i) => [i, i]));
    expect(batches.largest.tokens).toBeGreaterThanOrEqual(
      Math.max(...epoch.map((batch) => batch.reduce((n, { ids }) => n + ids.length, 0))),
    );
    expect(batches.packingEfficiency).toBeLessThanOrEqual(1);
  });

  it("where rows are held back for validation, and where one side is too long", async () => {
    const { samples } = await load(rows);
    const { train, validation } = splitValidation(samples, 0.3, 1);
    expect(inOrder(validation, 2).flat()).toHaveLength(2 * validation.length);
    expect(train.length + validation.length).toBe(9);
    const least = Math.min(...samples.map(({ ids }) => ids.length));
    const { samples: kept, report } = await load(rows, { maxSeqLen: least, onOverflow: "skip" });
    expect(kept.length + report.dropped.length).toBe(9);
    expect(kept.every(({ beside }) => beside!.length === 1)).toBe(true);
    expect(report.dropped.length).toBeGreaterThan(3);
  });
});
