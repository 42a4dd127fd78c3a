import { expect, it } from "vitest";
import { fewestTokens } from "./fewest-tokens.js";
import type { Tokenizer } from "./tokenizer.js";

const tokenizer = { vocabSize: 3, bytes: (id) => new Uint8Array(id + 2) } as Pick<
  Tokenizer,
  "vocabSize" | "bytes"
> as Tokenizer;
const fewest = (tokenizerJson: object, text: string) =>
  fewestTokens({ tokenizerJson, tokenizerConfig: {} }, tokenizer)(text);
const byteLevel = { pre_tokenizer: { type: "ByteLevel" }, normalizer: null };

it("divides a text's bytes by those of the longest token", () => {
  expect(fewest(byteLevel, "")).toBe(0);
  expect(fewest(byteLevel, "abcde")).toBe(2);
  expect(fewest(byteLevel, "éé ")).toBe(2);
  const replace = { type: "Replace", pattern: { String: " " }, content: "\u2581" };
  const normalizer = { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "\u2581" }, replace] };
  expect(fewest({ normalizer, pre_tokenizer: null, model: { byte_fallback: true } }, "a b c")).toBe(2);
  const split = { type: "Sequence", pretokenizers: [{ type: "Split", behavior: "Isolated" }, { type: "ByteLevel" }] };
  expect(fewest({ pre_tokenizer: split }, "12345678")).toBe(2);
});

it("does not count spaces that an added token may swallow", () => {
  expect(fewest({ ...byteLevel, added_tokens: [{ lstrip: true }] }, "     ab     cde")).toBe(2);
});

it("says nothing where a text may be shortened before it is cut into tokens", () => {
  const cases: object[] = [
    { ...byteLevel, normalizer: { type: "NFKC" } },
    { ...byteLevel, normalizer: { type: "Strip" } },
    { ...byteLevel, normalizer: { type: "Replace", pattern: { Regex: "a+" }, content: "a" } },
    { ...byteLevel, normalizer: { type: "Sequence", normalizers: [{ type: "Prepend" }, { type: "Lowercase" }] } },
    { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "WhitespaceSplit" }, { type: "ByteLevel" }] } },
    {
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [{ type: "Split", behavior: "Removed" }, { type: "ByteLevel" }],
      },
    },
    { model: { byte_fallback: false } },
  ];
  for (const json of cases) expect(fewest(json, "a".repeat(1000)), JSON.stringify(json)).toBe(0);
});
