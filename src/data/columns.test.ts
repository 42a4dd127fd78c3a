import { expect, it } from "vitest";
import { renameColumns, unknownField } from "./columns.js";
import { createRowReader } from "./row-reader.js";

const read = (value: Record<string, unknown>, columns: Record<string, string>) => {
  const reader = createRowReader("auto", columns);
  return {
    ...reader.read({ index: 0, line: 1, size: 1, value }),
    format: reader.format,
    seen: [...reader.seen.unused],
  };
};

it.each([
  [{ question: "Q", answer: "A" }, { prompt: "question", completion: "answer" }, "prompt_completion"],
  [{ dialog: [{ role: "assistant", content: "Hi" }] }, { messages: "dialog" }, "messages"],
  [{ chat: [{ from: "gpt", value: "Hi" }] }, { conversations: "chat" }, "sharegpt"],
  [{ task: "Q", result: "A", context: "C" }, { instruction: "task", output: "result", input: "context" }, "alpaca"],
  [{ body: "words" }, { text: "body" }, "text"],
])("reads %j with %j as %s", (value, columns, format) => {
  const found = read(value, columns as Record<string, string>);
  expect(found).toMatchObject({ format, seen: [] });
  expect(found).toHaveProperty("row");
});

it("changes two columns' places, and tells of a field whose place is taken", () => {
  expect(read({ prompt: "A", completion: "Q" }, { prompt: "completion", completion: "prompt" })).toMatchObject({
    row: { prompt: "Q", completion: "A" },
    seen: [],
  });
  expect(read({ prompt: "old", question: "Q", completion: "A" }, { prompt: "question" })).toMatchObject({
    row: { prompt: "Q" },
    seen: ["prompt"],
  });
  expect(renameColumns({ a: 1 }, {}, new Set())).toEqual({ a: 1 });
});

it("a row without the column says which keys it has, and the nearest", () => {
  expect(read({ quesiton: "Q", answer: "A" }, { prompt: "question", completion: "answer" })).toMatchObject({
    reason:
      "data.columns says that prompt is 'question', and the row's keys are quesiton, answer; did you mean quesiton?",
  });
});

it("a field that no format, or not the one that is set, reads is refused with the nearest", () => {
  expect(unknownField({ promt: "q" }, "auto")).toMatch(
    /'promt' is no field of rows, which has .*Did you mean prompt\?/,
  );
  expect(unknownField({ text: "q" }, "alpaca")).toMatch(/no field of rows of the format alpaca, which has instruction/);
  expect(unknownField({ text: "q", system: "s" }, "auto")).toBeUndefined();
  expect(() => createRowReader("text", { prompt: "q" })).toThrow("data.columns: 'prompt' is no field");
});
