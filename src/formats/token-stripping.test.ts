import { expect, test } from "vitest";
import { UserError } from "../tensor/index.js";
import { nameForTokens, takesSpaceAfter } from "./token-stripping.js";

const PHI3 = [
  { content: "<unk>", rstrip: false },
  { content: "<s>" },
  { content: "</s>", rstrip: true },
  { content: "<|user|>", rstrip: true },
];

test("tokens that take no white space need no name; Phi-3's need one that has it", () => {
  expect(nameForTokens("m", [{ content: "<s>" }, { content: "x", rstrip: false }])).toBe("m");
  expect(nameForTokens("m", PHI3)).toBe("m phi-3");
  expect(nameForTokens("my-Phi3-tune", PHI3)).toBe("my-Phi3-tune");
  expect([
    takesSpaceAfter("m phi-3", "<|user|>"),
    takesSpaceAfter("m", "<|user|>"),
    takesSpaceAfter("phi3", "<s>"),
  ]).toEqual([true, false, false]);
});

test.each([
  [[{ content: "<mask>", lstrip: true }], /lstrip of the token "<mask>" cannot be said in a GGUF/],
  [[{ content: "w", single_word: true }], /single_word of the token "w"/],
  [[...PHI3, { content: "y" }], /rstrip of the token "<\/s>"/],
])("%j is refused", (tokens, message) => {
  expect(() => nameForTokens("m", tokens)).toThrow(UserError);
  expect(() => nameForTokens("m", tokens)).toThrow(message);
});
