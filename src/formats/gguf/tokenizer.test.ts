import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { nodeFiles } from "../../node/files.js";
import { UserError } from "../../tensor/index.js";
import { createTokenizer } from "../../tokenizers/tokenizer.js";
import { parseObject } from "../json.js";
import { type GgufValue, readGguf } from "./reader.js";
import { tokenizerFromGguf } from "./tokenizer.js";

const near = (path: string) => fileURLToPath(new URL(path, import.meta.url));

interface BpeJson {
  model: { vocab: Record<string, number>; merges: [string, string][] };
  added_tokens: { id: number; content: string; special: boolean }[];
  pre_tokenizer: object;
  post_processor: object;
}

/** The GGUF metadata that llama.cpp's converter would make of a byte-level tokenizer.json. */
async function metadataOf(name: string, pre: string): Promise<{ json: BpeJson; metadata: Map<string, GgufValue> }> {
  const path = near(`../../../test/reference/tokenizers/${name}.json`);
  const json = parseObject(path, await nodeFiles.read(path), { unique: false }) as unknown as BpeJson;
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(json.model.vocab)) tokens[id] = token;
  for (const { id, content } of json.added_tokens) tokens[id] = content;
  const control = new Map(json.added_tokens.map(({ id, special }) => [id, special ? 3 : 4]));
  const metadata = new Map<string, GgufValue>([
    ["tokenizer.ggml.model", "gpt2"],
    ["tokenizer.ggml.pre", pre],
    ["tokenizer.ggml.tokens", tokens],
    ["tokenizer.ggml.token_type", tokens.map((_, id) => control.get(id) ?? 1)],
    ["tokenizer.ggml.merges", json.model.merges.map((merge) => merge.join(" "))],
    ["tokenizer.ggml.bos_token_id", 0],
    ["tokenizer.ggml.eos_token_id", 1],
  ]);
  return { json, metadata };
}

const TEXTS = [
  "Hello there, it's 2024!",
  "  two  spaces\n\nand\tlines ",
  "caf\u00e9 \u65e5\u672c \ud83d\ude42 don't",
  "",
  "<|im_start|>x<|im_end|>",
];

test.each([
  ["smollm2", "smollm"],
  ["llama3", "llama-bpe"],
])("%s: the tokenizer built from metadata gives the ids of the tokenizer.json it came from", async (name, pre) => {
  const { json, metadata } = await metadataOf(name, pre);
  const files = tokenizerFromGguf(metadata, "x.gguf");
  const built = createTokenizer(files);
  const original = createTokenizer({ tokenizerJson: json, tokenizerConfig: {} });
  for (const text of TEXTS) {
    expect(built.encode(text), text).toEqual(original.encode(text));
    expect(built.decode(built.encode(text))).toBe(original.decode(original.encode(text)));
  }
  const made = files.tokenizerJson as BpeJson;
  expect(made.pre_tokenizer).toEqual(json.pre_tokenizer);
  expect(made.added_tokens.map((t) => t.content)).toEqual(json.added_tokens.map((t) => t.content));
  expect(made.post_processor === null).toBe(json.post_processor === null);
});

test("templates that have names are kept beside the default one", async () => {
  const { metadata } = await metadataOf("smollm2", "smollm");
  metadata.set("tokenizer.chat_template", "D").set("tokenizer.chat_template.tool_use", "T");
  const files = tokenizerFromGguf(metadata, "x.gguf");
  expect(files.chatTemplate).toBe("D");
  expect(files.namedTemplates?.get("tool_use")).toBe("T");
});

test("a padding token that is none is passed over; a switch that is no truth value is refused", async () => {
  for (const id of [-1, 2 ** 32 - 1]) {
    const { metadata } = await metadataOf("smollm2", "smollm");
    metadata.set("tokenizer.ggml.padding_token_id", id);
    expect(tokenizerFromGguf(metadata, "x.gguf").tokenizerConfig).not.toHaveProperty("pad_token");
  }
  for (const key of ["add_bos_token", "add_eos_token"]) {
    const { metadata } = await metadataOf("smollm2", "smollm");
    metadata.set(`tokenizer.ggml.${key}`, 1);
    expect(() => tokenizerFromGguf(metadata, "x.gguf")).toThrow(
      `x.gguf: tokenizer.ggml.${key} must be true or false, got 1`,
    );
  }
});

test("SentencePiece: merges come from scores; ids as the Rust library has them", async () => {
  const file = await nodeFiles.open(near("../fixtures/sentencepiece.gguf"));
  const { metadata } = await readGguf(file);
  await file.close();
  const tokenizer = createTokenizer(tokenizerFromGguf(metadata, "x.gguf"));
  const tokens = (text: string) => tokenizer.encode(text).map((id) => tokenizer.token(id));
  expect(tokens("hello world")).toEqual(["<s>", "\u2581hello", "\u2581world"]);
  expect(tokens("hello  hello")).toEqual(["<s>", "\u2581hello", "\u2581", "\u2581hello"]);
  const mixed = ["<s>", "\u2581hel", "\u2581", "\u00e9", "<0xE6>", "<0x97>", "<0xA5>", "\u2581world", "\u2581"];
  expect(tokens("hel \u00e9\u65e5 world ")).toEqual(mixed);
  expect(tokenizer.decode(tokenizer.encode("hel \u00e9\u65e5 world "))).toBe("hel \u00e9\u65e5 world ");
  expect([tokenizer.bosId, tokenizer.eosId, tokenizer.unkId]).toEqual([1, 2, 0]);
});

describe("what cannot be built is refused by name", () => {
  const usual: [string, GgufValue][] = [
    ["tokenizer.ggml.model", "gpt2"],
    ["tokenizer.ggml.tokens", ["a", "b"]],
    ["tokenizer.ggml.merges", []],
  ];
  test("words without merges: every text would come out in bytes", () => {
    const metadata = new Map(usual).set("tokenizer.ggml.tokens", ["a", "b", "ab"]);
    for (const missing of [false, true]) {
      if (missing) metadata.delete("tokenizer.ggml.merges");
      expect(() => tokenizerFromGguf(metadata, "x.gguf")).toThrow(/"gpt2" tokenizer needs tokenizer\.ggml\.merges/);
    }
    metadata.set("tokenizer.ggml.token_type", [1, 1, 3]);
    expect(tokenizerFromGguf(metadata, "x.gguf")).toBeDefined();
  });

  test.each<[string, GgufValue, RegExp]>([
    ["model", "t5", /its tokenizer is "t5"/],
    ["pre", "deepseek-llm", /pre "deepseek-llm" is not supported \(supported: gpt-2, default, phi-2/],
    ["pre", "toString", /pre "toString" is not supported/],
    ["tokens", 3, /tokens must be a list of strings/],
    ["tokens", [], /has no tokenizer/],
    ["token_type", [1], /token_type has 1 entries for 2 tokens/],
    ["bos_token_id", 2, /bos_token_id is 2, there are 2 tokens/],
    ["merges", ["ab"], /the merge "ab" is not two tokens/],
    ["model", "llama", /needs tokenizer.ggml.scores/],
  ])("%s = %j", (key, value, message) => {
    const build = () => tokenizerFromGguf(new Map([...usual, [`tokenizer.ggml.${key}`, value]]), "x.gguf");
    expect(build).toThrow(UserError);
    expect(build).toThrow(message);
  });
});
