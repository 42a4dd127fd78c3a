import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { UserError } from "../tensor/index.js";
import type { TokenizerFiles } from "./files.js";
import { createTokenizer } from "./tokenizer.js";

/** What comes with other people's checkpoints: tokens named elsewhere, damaged files, patterns and texts that take long. */

type Json = Record<string, unknown> & { model: Record<string, unknown>; added_tokens: Record<string, unknown>[] };

const folder = new URL("../../test/reference/tokenizers/", import.meta.url);
const { families } = JSON.parse(readFileSync(new URL("families.json", folder), "utf8")) as {
  families: { name: string; json: Json }[];
};
const family = (name: string): Json => structuredClone(families.find((f) => f.name === name)!.json);
const open = (json: object, rest: Partial<TokenizerFiles> = {}) =>
  createTokenizer({ tokenizerJson: json, tokenizerConfig: {}, ...rest });

/** The same characters are in every vocabulary of these tests. */
const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
const small = (model: object, rest: object = {}) => ({
  added_tokens: [],
  pre_tokenizer: byteLevel,
  decoder: byteLevel,
  model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: [["a", "b"]], ...model },
  ...rest,
});

it("an added token that takes the spaces around it takes those of its repetition too (as tokenizers 0.23)", () => {
  const spaces = { id: 3, content: "  ", single_word: false, lstrip: true, rstrip: true, normalized: true };
  const ids = (flags: object, text: string) =>
    open(small({}, { added_tokens: [{ ...spaces, special: false, ...flags }] })).encode(text);
  expect(ids({}, "a    \tb")).toEqual([0, 3, 1]);
  expect(ids({}, "      b")).toEqual([3, 1]);
  expect(ids({ rstrip: false }, "a    b")).toEqual([0, 3, 3, 1]);
  expect(ids({ lstrip: false }, "a    b")).toEqual([0, 3, 3, 1]);
});

describe("special tokens that tokenizer.json does not list (ids and text as transformers 5.23 has them)", () => {
  const plain = { addSpecialTokens: false };
  const text = "x<a>y <tool> <|end|>z";

  it("named in tokenizer_config.json", () => {
    const tokenizer = open(family("gpt2"), { tokenizerConfig: { eos_token: "<a>" } });
    expect(tokenizer.encode(text, plain)).toEqual([88, 421, 89, 221, 28, 84, 79, 79, 76, 30, 221, 0, 90]);
    expect(tokenizer.decode(tokenizer.encode(text, plain))).toBe("xy <tool> z");
    expect([tokenizer.eosId, tokenizer.specialIds.has(421), tokenizer.vocabSize]).toEqual([421, true, 422]);
  });

  it("named in special_tokens_map.json, which comes first without an added_tokens_decoder", () => {
    const specialTokensMap = { eos_token: "<a>", additional_special_tokens: ["<tool>"] };
    const tokenizer = open(family("gpt2"), { tokenizerConfig: { eos_token: "<|end|>" }, specialTokensMap });
    expect(tokenizer.encode(text, plain)).toEqual([88, 421, 89, 221, 422, 221, 0, 90]);
    expect([tokenizer.eosToken, tokenizer.eosId]).toEqual(["<a>", 421]);
    const lstrip = {
      eos_token: { content: "<a>", lstrip: true, rstrip: false, single_word: false, normalized: false },
    };
    const strips = open(family("gpt2"), { specialTokensMap: lstrip });
    expect(strips.encode("x  <a>", plain)).toEqual([88, 421]);
  });

  it("an added_tokens_decoder adds tokens and settings, and the map does not count beside it", () => {
    const tool = {
      content: "<tool>",
      lstrip: true,
      rstrip: false,
      single_word: false,
      normalized: false,
      special: true,
    };
    const tokenizerConfig = { eos_token: "<|end|>", added_tokens_decoder: { 300: tool } };
    const tokenizer = open(family("gpt2"), { tokenizerConfig, specialTokensMap: { bos_token: "<a>" } });
    expect(tokenizer.encode(text, plain)).toEqual([88, 28, 65, 30, 89, 421, 221, 0, 90]);
    expect(tokenizer.bosId).toBeUndefined();
  });

  it("lists of more special tokens", () => {
    const extra = open(family("gpt2"), { tokenizerConfig: { extra_special_tokens: ["<tool>"] } });
    expect(extra.encode(text, plain)).toEqual([88, 28, 65, 30, 89, 221, 421, 221, 0, 90]);
    const tokenizerConfig = { additional_special_tokens: ["<tool>"], pad_token: "<a>" };
    expect(open(family("gpt2"), { tokenizerConfig }).encode(text, plain)).toEqual([88, 421, 89, 221, 422, 221, 0, 90]);
  });
});

describe("what each token covers where a normaliser changes the text", () => {
  const covered = (name: string, text: string) => {
    const { ids, starts, ends } = open(family(name)).encodeWithOffsets(text, { addSpecialTokens: false });
    return ids.map((_, i) => text.slice(starts[i], ends[i])).join("|");
  };

  it("both halves of what is composed, the whole of what is taken apart", () => {
    expect(covered("qwen", "xb\u0307y")).toMatch(/^x\|(b\u0307\|)+y$/);
    expect(covered("nfkc-unknown-fused", "\ufb01x")).toMatch(/^\|?(\ufb01\|)+x$/);
  });

  it("the mark of a space, written in the text or put there", () => {
    const { starts, ends } = open(family("llama2")).encodeWithOffsets("\u2581 a", { addSpecialTokens: false });
    expect(Math.max(...ends)).toBe(3);
    expect(starts[0]).toBe(0);
    const text = "load \u2581\u2582 87%";
    const tokenizer = open(family("llama2"));
    const labels = tokenizer.encodeWithOffsets(text, { addSpecialTokens: false });
    expect(labels.ends.at(-1)).toBe(text.length);
  });
});

describe("damaged or unknown: refused by name", () => {
  const token = { id: 3, content: "<x>", single_word: false, lstrip: false, rstrip: false, normalized: false };
  const deep = (depth: number, list: string) => {
    let step: object = { type: "Lowercase" };
    for (let i = 0; i < depth; i++) step = { type: "Sequence", [list]: [step] };
    return step;
  };
  it.each<[object, string | RegExp]>([
    [
      small({ vocab: { a: 0, b: 1.5, ab: 2 } }),
      'model.vocab: the id of "b" must be a whole number from 0 to 16777215, not 1.5',
    ],
    [small({ vocab: { a: 0, b: "x", ab: 2 } }), 'not "x"'],
    [small({ vocab: { a: 0, b: -1, ab: 2 } }), "not -1"],
    [small({ vocab: { a: 0, b: 2 ** 31, ab: 2 } }), "not 2147483648"],
    [small({ vocab: { a: 0, b: 1, ab: 1 } }), '"b" and "ab" both have the id 1'],
    [small({ vocab: ["a", "b"] }), "model.vocab must be an object"],
    [small({ vocab: undefined }), "model.vocab must be an object"],
    [small({ merges: undefined }), "model.merges must be a list"],
    [small({ merges: [["a", "c"]] }), 'model.merges[0] ["a","c"] needs the token "c"'],
    [small({ merges: [["b", "a"]] }), 'needs the token "ba"'],
    [small({ merges: ["a b c"] }), 'model.merges[0] is not two tokens: "a b c"'],
    [small({ merges: [["a", 1]] }), "model.merges[0] is not two tokens: a list"],
    [small({ unk_token: 3 }), "model.unk_token must be a text"],
    [small({ fuse_unk: "no" }), "model.fuse_unk must be true or false"],
    [small({ dropout: 0.1 }), "model.dropout 0.1"],
    [small({ end_of_word_suffix: "</w>" }), 'model.end_of_word_suffix "</w>" is not supported'],
    [small({ continuing_subword_prefix: "##" }), 'continuing_subword_prefix "##" is not supported'],
    [small({ type: "Unigram" }), 'a model of type "Unigram" is not supported'],
    [small({ type: "WordPiece" }), 'a model of type "WordPiece" is not supported'],
    [small({}, { model: null }), "model: missing"],
    [
      small({}, { added_tokens: [{ ...token, id: "x" }] }),
      'added_tokens[0]: its id must be a whole number from 0 to 16777215, not "x"',
    ],
    [small({}, { added_tokens: [{ ...token, id: 3.5 }] }), "not 3.5"],
    [small({}, { added_tokens: [{ ...token, content: 7 }] }), "its content must be a text, not 7"],
    [small({}, { added_tokens: [{ ...token, lstrip: 1 }] }), "lstrip must be true or false, not 1"],
    [small({}, { added_tokens: [{ ...token, id: 9 }] }), "says its id is 9, but the tokenizers library gives it 3"],
    [
      small({}, { added_tokens: [{ ...token, id: 0, content: "b" }] }),
      "says its id is 0, but the tokenizers library gives it 1",
    ],
    [small({}, { added_tokens: [null] }), "added_tokens[0]: its id"],
    [small({}, { added_tokens: {} }), "added_tokens must be a list"],
    [small({}, { added_tokens: [{ ...token, content: "<".repeat(1001) }] }), "at most 1000 characters"],
    [small({}, { normalizer: { type: "Precompiled" } }), 'normalizer: "Precompiled" is not supported (supported: NFC'],
    [small({}, { normalizer: { type: "toString" } }), 'normalizer: "toString" is not supported'],
    [small({}, { normalizer: { type: "Prepend", prepend: 1 } }), "Prepend.prepend must be a text"],
    [small({}, { normalizer: deep(200_000, "normalizers") }), "nest at most 16 deep"],
    [small({}, { pre_tokenizer: { type: "BertPreTokenizer" } }), 'pre_tokenizer: "BertPreTokenizer" is not supported'],
    [small({}, { pre_tokenizer: deep(200_000, "pretokenizers") }), "nest at most 16 deep"],
    [small({}, { pre_tokenizer: { type: "Split", pattern: { Regex: "(a" }, behavior: "Isolated" } }), "missing )"],
    [
      small({}, { pre_tokenizer: { type: "Split", pattern: { Regex: "(a)\\1" }, behavior: "Isolated" } }),
      "\\1 is not supported",
    ],
    [
      small({}, { pre_tokenizer: { type: "Split", pattern: { Regex: "a" }, behavior: "Odd" } }),
      'Split.behavior is "Odd"',
    ],
    [small({}, { pre_tokenizer: { type: "Split", behavior: "Isolated" } }), "Split.pattern must be"],
    [
      small({}, { pre_tokenizer: { type: "Metaspace", replacement: "__" } }),
      "Metaspace.replacement must be one character",
    ],
    [small({}, { pre_tokenizer: "ByteLevel" }), "expected an object with a type"],
    [small({}, { post_processor: { type: "Odd" } }), 'post_processor: "Odd" is not supported'],
    [small({}, { post_processor: { type: "TemplateProcessing", single: [] } }), "must hold the text (Sequence A) once"],
    [small({}, { post_processor: deep(200_000, "processors") }), "nest at most 16 deep"],
    [small({}, { decoder: { type: "WordPiece" } }), "decoder WordPiece is not supported"],
    [small({}, { decoder: deep(200_000, "decoders") }), "nest at most 16 deep"],
  ])("%#", (json, message) => {
    expect(() => open(json)).toThrow(UserError);
    expect(() => open(json)).toThrow(message);
  });

  it("an unknown token that is not in the vocabulary, when a text needs it", () => {
    const tokenizer = open(small({ unk_token: "<unk>" }));
    expect(tokenizer.encode("ab")).toEqual([2]);
    expect(() => tokenizer.encode("abc")).toThrow(/unk_token "<unk>" is not in the vocabulary/);
  });

  it("a vocabulary may hold any word", () => {
    const vocab = JSON.parse('{"__proto__": 0, "constructor": 1, "a": 2, "toString": 3}');
    const tokenizer = open(small({ vocab, merges: [] }));
    expect([tokenizer.token(0), tokenizer.id("constructor"), tokenizer.id("valueOf")]).toEqual([
      "__proto__",
      1,
      undefined,
    ]);
    expect(tokenizer.encode("aa")).toEqual([2, 2]);
  });
});

describe("nothing holds its thread", () => {
  const split = (pattern: string) => {
    const json = family("gpt2");
    const step = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
    return open({
      ...json,
      pre_tokenizer: { type: "Sequence", pretokenizers: [step, { ...byteLevel, use_regex: false }] },
    });
  };

  it("a regular expression that would never end does, or is refused", () => {
    const text = "a".repeat(50_000);
    const start = performance.now();
    expect(split("(a+)+!").encode(text).length).toBeGreaterThan(0);
    expect(() => split("(?>a+)!").encode(text)).toThrow(/pre_tokenizer: the regular expression ".*" takes too long/);
    const replace = { type: "Replace", pattern: { Regex: "(?:a|aa)++!" }, content: "" };
    expect(() => open({ ...family("llama2"), normalizer: replace }).encode(text)).toThrow(/normalizer: the regular/);
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  const n = 100_000;
  const long: Record<string, string> = {
    "one word": "abcdefghij".repeat(n / 10),
    "one letter": "a".repeat(n),
    digits: "1234567890".repeat(n / 10),
    spaces: " ".repeat(n),
    newlines: "\n".repeat(n),
    "what an added token begins with": "<".repeat(n),
    emoji: "\u{1f44d}".repeat(n / 2),
    marks: `e${"\u0301\u0323".repeat(n / 2)}`,
    "decomposed letters": "e\u0301".repeat(n / 2),
    "marks of spaces": "\u2581".repeat(n),
  };
  it.each(["llama2", "gemma", "qwen", "gpt4o", "possessive", "metaspace-first-whole"])("long texts: %s", (name) => {
    const tokenizer = open(family(name));
    for (const [what, text] of Object.entries(long)) {
      const start = performance.now();
      const steps = tokenizer.idsInSteps(text);
      let count = 1;
      while (!steps.next().done) count++;
      // A quadratic way of any of these takes minutes.
      expect(performance.now() - start, what).toBeLessThan(20_000);
      expect(count, what).toBeGreaterThan(3);
    }
  });

  it("a cluster of very many marks is put in order as the host does it", () => {
    const text = `e${"\u0301\u0323\u0334\u0345\u0315".repeat(200)}x`;
    const tokenizer = open(family("qwen"));
    expect(tokenizer.encode(text)).toEqual(tokenizer.encode(text.normalize("NFC")));
  });
});
