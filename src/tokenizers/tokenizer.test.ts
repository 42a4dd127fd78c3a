import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../tensor/index.js";
import { random } from "../tensor/random.js";
import type { TokenizerFiles } from "./files.js";
import { createTokenizer } from "./tokenizer.js";

const folder = new URL("../../test/reference/tokenizers/", import.meta.url);
const load = (name: string) => JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8"));
const expected = load("expected") as { encodings: Record<string, Row[]> };
interface Row {
  text: string;
  ids: number[];
  with_special: number[];
  offsets: [number, number][];
  decoded: string;
  decoded_all: string;
}

const configs: Record<string, Record<string, unknown>> = {
  llama2: {
    bos_token: { __type: "AddedToken", content: "<s>" },
    eos_token: "</s>",
    unk_token: "<unk>",
    pad_token: null,
  },
  llama3: { bos_token: "<|begin_of_text|>", eos_token: "<|eot_id|>" },
  smollm2: { bos_token: "<|im_start|>", eos_token: "<|im_end|>", pad_token: "<|im_end|>" },
};

function open(name: string, config: Record<string, unknown> = {}) {
  return createTokenizer(tokenizerFiles(name, config));
}

function tokenizerFiles(name: string, config: Record<string, unknown> = {}): TokenizerFiles {
  const base = name === "metaspace" ? "llama2" : name;
  const tokenizerJson = load(base);
  if (name === "metaspace") {
    tokenizerJson.normalizer = null;
    tokenizerJson.pre_tokenizer = { type: "Metaspace", replacement: "▁", prepend_scheme: "first", split: false };
  }
  return { tokenizerJson, tokenizerConfig: { ...configs[base], ...config } };
}

describe.each(Object.keys(expected.encodings))("%s tokenizer", (name) => {
  const tokenizer = open(name);

  it.each(expected.encodings[name]!.map((row) => [JSON.stringify(row.text), row] as const))("%s", (_, row) => {
    expect(tokenizer.encode(row.text, { addSpecialTokens: false })).toEqual(row.ids);
    expect(tokenizer.decode(row.ids)).toBe(row.decoded);
    expect(tokenizer.decode(row.ids, { skipSpecialTokens: false })).toBe(row.decoded_all);
    if (row.ids[0] !== tokenizer.bosId) expect(tokenizer.encode(row.text)).toEqual(row.with_special);

    const { ids, starts, ends } = tokenizer.encodeWithOffsets(row.text, { addSpecialTokens: false });
    expect(ids).toEqual(row.ids);
    const units = [0];
    for (const character of row.text) units.push(units.at(-1)! + character.length);
    row.offsets.forEach(([start, end], i) => {
      if (starts[i] === ends[i]) return; // a space the tokenizer invented: it covers nothing here, one character there
      expect([starts[i], ends[i]], `token ${i}`).toEqual([units[start], units[end]]);
    });
  });

  it("covers every character of any text, in order", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), (text) => {
        fc.pre(!/\p{Surrogate}/u.test(text));
        const { starts, ends } = tokenizer.encodeWithOffsets(text, { addSpecialTokens: false });
        let at = 0;
        starts.forEach((start, i) => {
          expect(start).toBeLessThanOrEqual(at);
          at = Math.max(at, ends[i]!);
        });
        expect(at).toBe(text.length);
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  it("tokenises a long text in steps, with the ids and offsets of one step", () => {
    const words = expected.encodings[name]!.map((row) => row.text);
    const rng = random(3, "long text");
    const plain = Array.from({ length: 4000 }, () =>
      rng.below(4) ? ["Ada", "reads", "naïve", "12", "I'll"][rng.below(5)]! : words[rng.below(words.length)]!,
    );
    const text = plain.join(" ");
    const steps = tokenizer.encodeInSteps(text, { addSpecialTokens: false });
    let count = 1;
    let step = steps.next();
    for (; !step.done; step = steps.next()) count++;
    expect(count).toBeGreaterThan(2);
    expect(step.value.ids).toEqual(tokenizer.encode(text, { addSpecialTokens: false }));
    expect(step.value.ends.at(-1)).toBe(text.length);
    step.value.ids.forEach((id, i) => {
      const token = tokenizer.decode([id]);
      const [start, end] = [step.value.starts[i]!, step.value.ends[i]!];
      if (/^[a-z]+$/i.test(token) && start >= 0) expect(text.slice(start, end).replace(/^[ \u2581]/, "")).toBe(token);
    });
  });

  it("streams the text that decode gives, never half a character", () => {
    const ids = tokenizer.encode("日本語 👩‍👩‍👧 naïve\ufeff end", { addSpecialTokens: false });
    const stream = tokenizer.decoder();
    const pieces = [...ids.map((id) => stream.push(id)), stream.end()];
    expect(pieces.join("")).toBe(tokenizer.decode(ids));
    expect(pieces.join("")).not.toContain("\ufffd");
    const cut = tokenizer.decoder();
    const parts = tokenizer.encode("日", { addSpecialTokens: false }).slice(0, -1).map(cut.push);
    expect(parts.join("") + cut.end()).toContain("\ufffd");
  });
});

it("byte tokens that are no UTF-8 together are each U+FFFD, as in the tokenizers library", () => {
  const tokenizer = open("llama2");
  const byte = (value: number) => 3 + value;
  const letter = tokenizer.id("a")!;
  expect(tokenizer.decode([letter, byte(0x69), byte(0xe2), letter, byte(0x69), letter])).toBe("a\ufffd\ufffdaia");
  expect(tokenizer.decode([letter, byte(0xc3), byte(0xa9), byte(0x69)])).toBe("aéi");
});

describe("special tokens", () => {
  it("reads string and object tokens and counts added tokens into the vocabulary", () => {
    const tokenizer = open("llama2");
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.unkId, tokenizer.padId]).toEqual([1, 2, 0, undefined]);
    expect([tokenizer.bosToken, tokenizer.eosToken]).toEqual(["<s>", "</s>"]);
    const grown = load("llama2");
    const id = tokenizer.vocabSize;
    grown.added_tokens.push({ ...grown.added_tokens[0], id, content: "<tool>" });
    const larger = createTokenizer({ tokenizerJson: grown, tokenizerConfig: {} });
    expect(larger.vocabSize).toBe(id + 1);
    expect(larger.encode("a<tool>", { addSpecialTokens: false }).at(-1)).toBe(id);
    expect(larger.decode([id + 1, id], { skipSpecialTokens: false })).toBe("<tool>");
  });

  it("trap 2: never doubles the BOS", () => {
    for (const name of ["llama2", "llama3"]) {
      const tokenizer = open(name);
      const count = (text: string) => tokenizer.encode(text).filter((id) => id === tokenizer.bosId).length;
      expect(tokenizer.addsBos).toBe(true);
      expect([count("Hello"), count(`${tokenizer.bosToken}Hello`)]).toEqual([1, 1]);
      expect(tokenizer.encodeWithOffsets(`${tokenizer.bosToken}Hello`).ids).toEqual(
        tokenizer.encode(`${tokenizer.bosToken}Hello`),
      );
    }
    expect(open("smollm2").addsBos).toBe(false);
  });

  it("adds what the post-processor says, whatever add_bos_token and add_eos_token say", () => {
    expect(open("llama2", { add_bos_token: false }).addsBos).toBe(true);
    expect(open("smollm2", { add_bos_token: true, add_eos_token: true }).encode("Hi")).toEqual(
      open("smollm2").encode("Hi"),
    );
    const tokenizerJson = load("smollm2");
    const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
    tokenizerJson.post_processor = {
      type: "TemplateProcessing",
      single: [special("<|endoftext|>"), { Sequence: { id: "A", type_id: 0 } }, special("<|im_end|>")],
      pair: [],
      special_tokens: {},
    };
    const both = createTokenizer({
      tokenizerJson,
      tokenizerConfig: { bos_token: "<|endoftext|>", eos_token: "<|im_end|>" },
    });
    const plain = both.encode("Hi", { addSpecialTokens: false });
    expect(both.encode("Hi")).toEqual([both.bosId, ...plain, both.eosId]);
    expect(both.encode("<|endoftext|>Hi<|im_end|>")).toEqual([both.bosId, ...plain, both.eosId]);
    expect(both.encodeWithOffsets("Hi")).toMatchObject({ starts: [-1, 0, 1, -1], ends: [-1, 1, 2, -1] });
  });

  it("places tokens that swallow the whitespace around them", () => {
    const tokenizerJson = load("smollm2");
    for (const token of tokenizerJson.added_tokens) Object.assign(token, { lstrip: true, rstrip: true });
    const tokenizer = createTokenizer({ tokenizerJson, tokenizerConfig: {} });
    const text = "Ada  <|im_end|>\n reads";
    const { ids, starts, ends } = tokenizer.encodeWithOffsets(text);
    const at = ids.indexOf(tokenizer.id("<|im_end|>")!);
    expect([starts[at], ends[at]]).toEqual([3, 17]);
    expect(ends.at(-1)).toBe(text.length);
  });
});

describe("refusals", () => {
  it("refuses half a surrogate pair, other models and damaged files", () => {
    expect(() => open("llama2").encode("a\ud800b")).toThrow(/half a surrogate pair at character 1/);
    const wordPiece = { model: { type: "WordPiece", vocab: {} }, decoder: { type: "WordPiece" } };
    expect(() => createTokenizer({ tokenizerJson: wordPiece, tokenizerConfig: {} })).toThrow(
      /type "WordPiece" is not supported/,
    );
    expect(() => createTokenizer({ tokenizerJson: {}, tokenizerConfig: {} })).toThrow(UserError);
    const noDecoder = { ...load("smollm2"), decoder: null };
    expect(() => createTokenizer({ tokenizerJson: noDecoder, tokenizerConfig: {} })).toThrow(/decoder none/);
  });
});
