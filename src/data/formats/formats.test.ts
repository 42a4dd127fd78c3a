import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { openFields } from "../fields.js";
import type { Row } from "../row.js";
import type { Format } from "./format.js";
import { detectFormat, type FormatName, formatNames, formats, readRow, rowKind } from "./index.js";

const call = (args: unknown) => ({ type: "function", function: { name: "ferry", arguments: args } });
const answered = (args: unknown, more = {}) => ({
  messages: [
    { role: "user", content: "Next?" },
    { role: "assistant", content: null, tool_calls: [call(args)] },
  ],
  ...more,
});

/** A row of every format, what is learned of it at the end, and a row that it cannot read. */
const cases: Record<FormatName, { row: Record<string, unknown>; broken: Record<string, unknown> }> = {
  openai_tools: { row: answered('{"island": "Texel"}'), broken: answered("{island}") },
  messages: {
    row: { messages: [{ role: "assistant", content: "A" }] },
    broken: { messages: [{ role: "user", content: "A" }] },
  },
  sharegpt: {
    row: { conversations: [{ from: "gpt", value: "A" }] },
    broken: { conversations: [{ from: "nobody", value: "A" }] },
  },
  alpaca: { row: { instruction: "Q", output: "A" }, broken: { instruction: "Q", output: "" } },
  prompt_completion: { row: { prompt: "Q", completion: "A" }, broken: { prompt: "Q", completion: " " } },
  text: { row: { text: "A" }, broken: { text: "" } },
  preference: {
    row: { prompt: "Q", chosen: "A", rejected: "B" },
    broken: { prompt: "Q", chosen: "A", rejected: "A" },
  },
  openai_preference: {
    row: {
      input: { messages: [{ role: "user", content: "Q" }] },
      preferred_output: [{ role: "assistant", content: "A" }],
      non_preferred_output: [{ role: "assistant", content: "B" }],
    },
    broken: { input: { messages: [] }, preferred_output: [], non_preferred_output: [] },
  },
  unpaired_preference: {
    row: { prompt: "Q", completion: "A", label: true },
    broken: { prompt: "Q", completion: "A", label: "good" },
  },
  prompt_only: { row: { prompt: "Q" }, broken: { prompt: "" } },
};
const seen = () => ({ unused: new Set<string>(), textArguments: false });

describe.each(formatNames)("%s", (name) => {
  const format: Format = formats[name];
  const { row, broken } = cases[name];

  it("is told by its keys, and reads only fields that it names", () => {
    expect(detectFormat(row, rowKind(name))).toBe(name);
    const asked = new Set<string>();
    const fields = openFields(row);
    const watched = new Proxy(fields, {
      get: (target, key) => (field?: string) => {
        if (field !== undefined) asked.add(field);
        return (target[key as keyof typeof fields] as (field?: string) => unknown)(field);
      },
    });
    format.read(watched, seen());
    expect([...asked].filter((field) => ![...format.needs, ...format.takes].includes(field))).toEqual([]);
    expect([...asked]).toEqual(expect.arrayContaining([...format.needs]));
  });

  it("refuses a row that it cannot read, and one of another format", () => {
    expect(() => readRow(broken, name, "", seen())).toThrow();
    expect(() => readRow({ other: 1 }, name, "as data.format says", seen())).toThrow(
      `its keys are other; expected ${name}, as data.format says`,
    );
  });
});

it("docs/data.md has a row of every format, with its shape", () => {
  const docs = readFileSync(new URL("../../../docs/data.md", import.meta.url), "utf8");
  const table = docs.slice(docs.indexOf("| `data.format`"));
  const rows = [...table.matchAll(/^\| `(\w+)` +\| `(.*?)`/gm)].map(([, name, shape]) => [name, shape]);
  expect(rows).toEqual(formatNames.map((name) => [name, formats[name].shape]));
});

describe("OpenAI's tools", () => {
  const calls = (row: Row) => (row.kind === "chat" ? row.messages.at(-1)!.tool_calls : undefined);
  const read = (row: Record<string, unknown>) => calls(readRow(row, "openai_tools", "", seen()));

  it("have their arguments as objects for the template, as numbers and texts were written", () => {
    expect(read(answered('{"island": "Texel", "n": 2}'))).toEqual([call({ island: "Texel", n: 2 })]);
    expect(read(answered(""))).toEqual([call({})]);
    expect(read(answered({ island: "Texel" }))).toEqual([call({ island: "Texel" })]);
  });

  it("are told by arguments that are text, or by parallel_tool_calls", () => {
    expect(detectFormat(answered({}))).toBe("messages");
    expect(detectFormat(answered({}, { parallel_tool_calls: false }))).toBe("openai_tools");
  });

  it("arguments that are no JSON are refused by their place", () => {
    expect(() => read(answered("{island}"))).toThrow(
      /messages\[1\]\.tool_calls\[0\]\.function\.arguments must be JSON text, and is not JSON/,
    );
  });
});
