import { expect, it } from "vitest";
import { sideBySide } from "./columns.js";

it("sets texts beside each other and wraps them at words", () => {
  const texts = [
    { title: "base", text: "I do not know where that is." },
    { title: "mine", text: "By the sea.\nOn foot." },
  ];
  expect(sideBySide(texts, 45)).toBe(
    [
      "[base]                  [mine]",
      "I do not know where     By the sea.",
      "that is.                On foot.",
      "",
    ].join("\n"),
  );
  expect(sideBySide(texts, 30)).toBe("[base]\nI do not know where that is.\n[mine]\nBy the sea.\nOn foot.\n");
});

it("cuts words that are longer than a column, and loses nothing", () => {
  const long = "x".repeat(50);
  const shown = sideBySide(
    [
      { title: "a", text: long },
      { title: "b", text: "y" },
    ],
    45,
  );
  expect(shown.replace(/[^x]/g, "")).toBe(long);
  expect(Math.max(...shown.split("\n").map((line) => line.length))).toBeLessThanOrEqual(45);
});
