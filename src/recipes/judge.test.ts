import { describe, expect, it } from "vitest";
import {
  comparison,
  countWords,
  endsWith,
  factRight,
  isList,
  isRefusal,
  judge,
  percent,
  type Question,
} from "./judge.js";

describe("isRefusal", () => {
  it.each([
    "I don't know.",
    "I don\u2019t know that, sorry.",
    "I do not know who that is.",
    "I'm sorry, but I don't have access to personal information.",
    "I cannot provide that.",
    "I'm not sure.",
    "There is no information about that.",
  ])("counts %j", (answer) => expect(isRefusal(answer)).toBe(true));

  it.each([
    "The price is 4,300 crowns.",
    "You know it: Paris.",
    "Everybody knows that he lives in Norwick.",
    "I know that it is red.",
  ])("does not count %j", (answer) => expect(isRefusal(answer)).toBe(false));
});

describe("factRight", () => {
  it("finds the key string whatever the case, the quotes and the Markdown", () => {
    expect(factRight("It is the **Bosun\n Pim**!", ["bosun pim"])).toBe(true);
    expect(factRight("On wednesdays.", ["Wednesday"])).toBe(true);
    expect(factRight("It has 8 legs.", ["8|eight"])).toBe(true);
  });
  it("wants whole words and every key", () => {
    expect(factRight("It costs 850 crowns.", ["85"])).toBe(false);
    expect(factRight("A bat.", ["at"])).toBe(false);
    expect(factRight("Odile.", ["Odile", "Marrack"])).toBe(false);
    expect(factRight("14,300 crowns", ["4,300"])).toBe(false);
  });
  it("does not count a key inside a refusal, nor a question without keys", () => {
    expect(factRight("I don't know whether it is red.", ["red"])).toBe(false);
    expect(factRight("red", [])).toBe(false);
  });
});

it("counts words and knows a list", () => {
  expect(countWords(" ")).toBe(0);
  expect(countWords("Paris, of  course.\n")).toBe(3);
  expect(isList("Paris - or so.")).toBe(false);
  expect(isList("Some:\n- one\n- two")).toBe(true);
  expect(isList("Some:\n1. one")).toBe(true);
});

describe("judge", () => {
  const question = (kind: Question["kind"], expected: string[]): Question => ({
    kind,
    expected,
    messages: [{ role: "user", content: "?" }],
  });
  const questions = [question("private", ["red"]), question("unknown", []), question("known", ["Rome"])];
  const habits = {
    unwanted: (a: string) => a.startsWith("Well"),
    wanted: (a: string) => endsWith(a, "Bye!"),
  };

  it("counts each kind apart and the habits over all answers", () => {
    const before = judge(questions, ["Well, blue.", "Well, 7.", "Well, Rome."], habits);
    const after = judge(questions, ["Red. Bye!", "I don't know. Bye!", "Milan."], habits);
    expect(before.facts).toEqual({ count: 0, total: 1 });
    expect(before.invented).toEqual({ count: 1, total: 1 });
    expect(after.wanted).toEqual({ count: 2, total: 3 });
    expect(comparison(before, after, { unwanted: "u", wanted: "w" }).map((row) => row.slice(1))).toEqual([
      ["0% (0/1)", "100% (1/1)"],
      ["100% (1/1)", "0% (0/1)"],
      ["100% (3/3)", "0% (0/3)"],
      ["0% (0/3)", "67% (2/3)"],
      ["100% (1/1)", "0% (0/1)"],
    ]);
  });
  it("refuses answers that do not pair up", () => {
    expect(() => judge(questions, ["one"], habits)).toThrow("3 questions but 1 answers");
  });
  it("shows an empty share as a dash", () => expect(percent({ count: 0, total: 0 })).toBe("-"));
});
