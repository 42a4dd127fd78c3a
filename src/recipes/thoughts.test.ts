import { expect, it } from "vitest";
import { opensThoughts, type Split, splitThoughts } from "./thoughts.js";

function split(text: string, open: boolean, size: number) {
  const thoughts = splitThoughts(open);
  const parts: Split[] = [];
  for (let at = 0; at < text.length; at += size) parts.push(thoughts.push(text.slice(at, at + size)));
  parts.push(thoughts.end());
  const joined = (of: "reasoning" | "text") => parts.map((part) => part[of]).join("");
  return { reasoning: joined("reasoning"), text: joined("text"), length: thoughts.length };
}

it.each([
  ["<think>\na\n\nb\n</think>\n\nc </think>", false, { reasoning: "a\n\nb", text: "c </think>", length: 21 }],
  [" <think>a < b</think>c", false, { reasoning: "a < b", text: "c", length: 21 }],
  ["a</think>\nb\n", true, { reasoning: "a", text: "b\n", length: 9 }],
  ["<think>cut </thin", false, { reasoning: "cut </thin", text: "", length: 17 }],
  ["<think></think>\n\nsaid", false, { reasoning: "", text: "said", length: 15 }],
  [" <thin", false, { reasoning: "", text: " <thin", length: 0 }],
  ["  said <think>no</think>", false, { reasoning: "", text: "  said <think>no</think>", length: 0 }],
  ["", true, { reasoning: "", text: "", length: 0 }],
])("%j, opened by the prompt: %s, wherever the pieces are cut", (text, open, wanted) => {
  for (let size = 1; size <= text.length + 1; size++) expect(split(text, open, size), `${size}`).toEqual(wanted);
});

it("a prompt may open the block", () => {
  expect(opensThoughts("<|assistant|><think>\n")).toBe(true);
  expect(opensThoughts("<|assistant|><think>\n\n</think>\n\n")).toBe(false);
});
