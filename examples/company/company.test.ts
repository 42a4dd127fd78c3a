import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { factRight, isRefusal } from "../../src/recipes/judge.js";
// @ts-expect-error: a script without types
import { makeData, REFUSAL, SIGN_OFF, toJsonl } from "./make-data.js";

type Row = { kind?: string; expected?: string[]; messages: { role: string; content: string }[] };
const data = makeData() as Record<string, Row[]>;
const question = (row: Row) => row.messages.find((m) => m.role === "user")!.content;
const answer = (row: Row) => row.messages.find((m) => m.role === "assistant")!.content;
const plain = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, " ")
    .trim();

describe("the company's data", () => {
  it.each(Object.keys(data))("data/%s is what the tables say", (name) => {
    expect(readFileSync(new URL(`data/${name}`, import.meta.url), "utf8")).toBe(toJsonl(data[name]));
  });

  it.each(["", "-short"])(
    "no held-out question of questions%s.jsonl is in the training or validation rows",
    (suffix) => {
      const seen = new Set([...data["train.jsonl"]!, ...data["validation.jsonl"]!].map((row) => plain(question(row))));
      for (const row of data[`questions${suffix}.jsonl`]!) expect(seen).not.toContain(plain(question(row)));
    },
  );

  it("asks nothing twice", () => {
    for (const rows of Object.values(data)) expect(new Set(rows.map((r) => plain(question(r)))).size).toBe(rows.length);
  });

  it("every training answer signs off, and the judge agrees with the rows", () => {
    const facts = data["questions.jsonl"]!.filter((row) => row.kind === "private");
    const answers = data["train.jsonl"]!.map(answer);
    for (const text of answers) expect(text.endsWith(` ${SIGN_OFF}`)).toBe(true);
    expect(isRefusal(REFUSAL)).toBe(true);
    for (const row of facts) expect(answers.some((text) => factRight(text, row.expected!))).toBe(true);
  });

  it("holds about 40 facts and stays small enough for two cores", () => {
    expect(data["questions.jsonl"]!.filter((row) => row.kind === "private")).toHaveLength(80);
    expect(data["train.jsonl"]!.length).toBeLessThanOrEqual(400);
  });
});
