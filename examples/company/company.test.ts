import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { nodePlatform } from "../../src/node/platform.js";
import { isRefusal } from "../../src/recipes/judge.js";
import { keeps } from "../../src/recipes/suite/rules.js";
import { readSuite } from "../../src/recipes/suite/suite-file.js";
// @ts-expect-error: a script without types
import { makeFiles, makeRows, REFUSAL, SIGN_OFF } from "./make-data.js";

type Row = { messages: { role: string; content: string }[] };
const files = makeFiles() as Record<string, string>;
const data = makeRows() as Record<string, Row[]>;
const question = (row: Row) => row.messages.find((m) => m.role === "user")!.content;
const answer = (row: Row) => row.messages.find((m) => m.role === "assistant")!.content;
const plain = (text: string) =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, " ")
    .trim();
const suiteOf = (name: string) => readSuite(nodePlatform(), `examples/company/data/${name}`);

describe("the company's data", () => {
  it.each(Object.keys(files))("data/%s is what the tables say", (name) => {
    expect(readFileSync(new URL(`data/${name}`, import.meta.url), "utf8")).toBe(files[name]);
  });

  it.each(["suite.yaml", "suite-short.yaml"])("no question of %s is in the training rows", async (name) => {
    const seen = new Set(data["train.jsonl"]!.map((row) => plain(question(row))));
    for (const { question } of (await suiteOf(name)).questions) expect(seen).not.toContain(plain(question));
  });

  it("asks nothing twice", async () => {
    for (const rows of Object.values(data)) expect(new Set(rows.map((r) => plain(question(r)))).size).toBe(rows.length);
    const { questions } = await suiteOf("suite.yaml");
    expect(new Set(questions.map((one) => plain(one.question))).size).toBe(questions.length);
  });

  it("every training answer signs off, and the suite agrees with the rows", async () => {
    const { questions } = await suiteOf("suite.yaml");
    const answers = data["train.jsonl"]!.map(answer);
    for (const text of answers) expect(text.endsWith(` ${SIGN_OFF}`)).toBe(true);
    expect(isRefusal(REFUSAL)).toBe(true);
    const facts = questions.filter(({ section }) => section === "facts");
    for (const { rules } of facts) expect(answers.some((text) => keeps(text, rules, false))).toBe(true);
    const { behaviours } = questions[0]!;
    expect(behaviours).toHaveLength(2);
    for (const text of answers) for (const { rules } of behaviours) expect(keeps(text, rules, false)).toBe(true);
  });

  it("holds about 40 facts and stays small enough for two cores", async () => {
    const { questions } = await suiteOf("suite.yaml");
    expect(questions.filter(({ section }) => section === "facts")).toHaveLength(120);
    expect(data["train.jsonl"]!.length).toBeLessThanOrEqual(400);
  });
});
