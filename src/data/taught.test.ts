import { describe, expect, it } from "vitest";
import type { ChatRow } from "./row.js";
import type { Sample } from "./sample.js";
import { behindPrompt, teacherPromptOf, withTaught } from "./taught.js";

const chat = (...messages: ChatRow["messages"]): ChatRow => ({
  kind: "chat",
  messages,
  completion: 1,
  muted: new Set([1]),
});
const user = { role: "user", content: "Hi" };
const assistant = { role: "assistant", content: "Hello" };

describe("what a teacher reads before a row", () => {
  it("is the system message, in front of the row's own; what is counted by message moves on", () => {
    expect(behindPrompt(chat(user, assistant), "Be kind.")).toEqual({
      kind: "chat",
      messages: [{ role: "system", content: "Be kind." }, user, assistant],
      completion: 2,
      muted: new Set([2]),
    });
    expect(behindPrompt(chat({ role: "system", content: "Own." }, user), "Be kind.")).toMatchObject({
      messages: [{ role: "system", content: "Be kind.\n\nOwn." }, user],
      completion: 1,
    });
  });

  it("stands before a text's prompt, an empty line between", () => {
    const row = { kind: "text", prompt: "Q: ", completion: "A" } as const;
    expect(behindPrompt(row, "Facts.")).toEqual({ ...row, prompt: "Facts.\n\nQ: " });
  });

  it("is a field of the row, which nothing else sees", () => {
    expect(teacherPromptOf({ text: "a", teacher_prompt: "b" })).toEqual({ prompt: "b", row: { text: "a" } });
    expect(teacherPromptOf({ text: "a", teacher_prompt: null })).toEqual({ prompt: "", row: { text: "a" } });
    expect(() => teacherPromptOf({ teacher_prompt: 3 })).toThrow("teacher_prompt must be a string, not number");
  });
});

describe("a sample as its teacher reads it", () => {
  const sample: Sample = { index: 4, ids: Int32Array.of(1, 2, 3, 4), supervised: Uint8Array.of(0, 0, 1, 1) };

  it("has the same targets, and ends with the last of them", () => {
    const row = { ids: [9, 8, 1, 2, 3, 4, 5, 6], supervised: [0, 0, 0, 0, 1, 1, 1, 0], addedEnd: false };
    expect(withTaught(sample, row)).toEqual({
      ...sample,
      taughtBy: { index: 4, ids: Int32Array.of(9, 8, 1, 2, 3, 4), supervised: Uint8Array.of(0, 0, 0, 0, 1, 1) },
    });
  });

  it("cannot be where the targets are other tokens, or fewer", () => {
    const why = "behind its teacher's prompt the row's targets are other tokens";
    const [other, fewer] = [
      { ids: [9, 1, 2, 7, 4], supervised: [0, 0, 0, 1, 1] },
      { ids: [9, 1, 2, 3], supervised: [0, 0, 0, 1] },
    ];
    for (const row of [other, fewer]) expect(withTaught(sample, { ...row, addedEnd: false })).toContain(why);
  });
});
