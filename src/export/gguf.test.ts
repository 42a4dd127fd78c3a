import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { Files } from "../formats/files.js";
import { type GgufValue, readGguf } from "../formats/gguf/reader.js";
import { tokenizerFromGguf } from "../formats/gguf/tokenizer.js";
import { ggufTokenizer } from "../formats/gguf/write-tokenizer.js";
import { configFromHf } from "../formats/hf/config.js";
import { parseObject } from "../formats/json.js";
import { memoryFiles } from "../formats/memory-files.js";
import { type Adapter, readAdapter } from "../formats/peft/adapter.js";
import { openSafetensors } from "../formats/safetensors.js";
import { loraScale } from "../models/lora-config.js";
import { nodeFiles } from "../node/files.js";
import { GGUF_WEIGHT_TYPES } from "../tensor/codecs/quants-encode.js";
import { UserError } from "../tensor/index.js";
import type { TokenizerFiles } from "../tokenizers/files.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";
import { exportGguf, ggufTypeOf, mergedValues } from "./gguf.js";
import { exportGgufLora, readGgufLora } from "./gguf-lora.js";

const root = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const CASES = ["llama2", "llama3", "bias"] as const;

/** A reference model, which has no tokenizer, with one that fits its vocabulary. */
async function referenceModel(name: string): Promise<OpenModel> {
  const path = root(`test/reference/vectors/${name}/model/config.json`);
  const config = configFromHf(parseObject(path, await nodeFiles.read(path)), path);
  const tensors = await openSafetensors(nodeFiles, path.replace("config.json", "model.safetensors"));
  return {
    path,
    kind: "hf",
    config,
    tensors,
    tokenizer: letters(config.vocabSize),
    generationConfig: { eosIds: [2], bosId: 1 },
    ignored: [],
    notes: [],
    hash: async () => "",
    close: () => tensors.close(),
  };
}

/** A byte-level tokenizer of single letters. */
function letters(size: number): TokenizerFiles {
  const vocab = Object.fromEntries(Array.from({ length: size - 3 }, (_, i) => [String.fromCharCode(0x100 + i), i]));
  const added = ["<s>", "</s>", "<pad>"].map((content, i) => ({ id: size - 3 + i, content, special: true }));
  return {
    tokenizerJson: {
      added_tokens: added,
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
      decoder: { type: "ByteLevel" },
      model: { type: "BPE", vocab, merges: [] },
    },
    tokenizerConfig: { eos_token: "</s>" },
    chatTemplate: "{{ messages[0].content }}",
  };
}

const adapterOf = (name: string, model: OpenModel): Promise<Adapter> =>
  readAdapter(nodeFiles, root(`test/reference/vectors/${name}/all`), model.config);

async function exported(
  model: OpenModel,
  adapter: Adapter | undefined,
  type: "f32" | "q8_0" | "q4_1",
): Promise<OpenModel> {
  const files = memoryFiles();
  await exportGguf(files, model, adapter, "m.gguf", { type, name: "m" });
  return openModel(files, "m.gguf");
}

describe.each(CASES)("%s as a GGUF", (name) => {
  test("q and k rows, rope scaling, head and biases come back as they were (traps 14, 15)", async () => {
    const model = await referenceModel(name);
    const adapter = await adapterOf(name, model);
    const back = await exported(model, adapter, "f32");
    expect(back.config).toEqual(model.config);
    expect([...back.tensors.tensors.keys()].sort()).toEqual([...model.tensors.tensors.keys()].sort());
    for (const key of model.tensors.tensors.keys()) {
      expect(await back.tensors.read(key), key).toEqual(await mergedValues(model, adapter, key));
    }
    await model.close();
  });

  test("LoRA GGUF: the effective scale survives rsLoRA, B's rows are in order (trap 13)", async () => {
    const model = await referenceModel(name);
    const adapter = await adapterOf(name, model);
    expect(adapter.config.useRslora).toBe(true);
    const files = memoryFiles();
    await exportGgufLora(files, adapter, model.config, "a.gguf", { type: "f32", name: "a" });
    const { metadata } = await readGguf(await files.open("a.gguf"));
    expect((metadata.get("adapter.lora.alpha") as number) / adapter.config.r).toBeCloseTo(loraScale(adapter.config), 6);
    const back = await readGgufLora(files, "a.gguf", model.config);
    expect(back.tensors).toEqual(adapter.tensors);
    expect(loraScale(back.config)).toBeCloseTo(loraScale(adapter.config), 6);
    expect(back.config).toMatchObject({ targetModules: adapter.config.targetModules, useRslora: false });
    await model.close();
  });
});

test("the bundled model, quantised: vectors stay fp32, the same input gives the same bytes", async () => {
  const model = await openModel(nodeFiles, root("models/tiny"));
  for (const type of GGUF_WEIGHT_TYPES) {
    const files = memoryFiles();
    await exportGguf(files, model, undefined, "m.gguf", { type, name: "tiny" });
    await exportGguf(files, model, undefined, "again.gguf", { type, name: "tiny" });
    expect(await files.sha256("m.gguf")).toBe(await files.sha256("again.gguf"));
    const back = await openModel(files, "m.gguf");
    for (const [key, { shape, stored }] of back.tensors.tensors) expect(stored, key).toBe(ggufTypeOf(key, shape, type));
    expect(back.config).toEqual(model.config);
  }
  expect(ggufTypeOf("model.embed_tokens.weight", [512, 128], "q4_0")).toBe("q8_0");
  await model.close();
});

test("a tensor that cannot be read leaves no file behind, whole or half", async () => {
  const model = await openModel(nodeFiles, root("models/tiny"));
  const files: Files = memoryFiles();
  const read = async (name: string) => {
    if (name.includes("layers.2.mlp.up_proj")) throw new UserError("the disk is gone");
    return model.tensors.read(name);
  };
  const broken: OpenModel = { ...model, tensors: { ...model.tensors, read } };
  const attempt = exportGguf(files, broken, undefined, "m.gguf", { type: "q8_0", name: "m" });
  await expect(attempt).rejects.toThrow("the disk is gone");
  expect(await files.stat("m.gguf")).toBeUndefined();
  await model.close();
});

describe("tokenizers", () => {
  const through = (files: TokenizerFiles, vocabSize: number) => {
    const fields = ggufTokenizer(files, { vocabSize, eosIds: [] });
    const metadata = new Map([...fields].map(([key, [, value]]) => [key, value as GgufValue]));
    return { fields, back: tokenizerFromGguf(metadata, "here") };
  };

  const texts = [
    "",
    "Hello  world 1234",
    "\u00e9t\u00e9 \u4f60\u597d\n\n\t x",
    "<s>a</s> it's",
    "    four",
    "hello world",
  ];
  const read = async (name: string): Promise<TokenizerFiles> => {
    const path = root(`test/reference/tokenizers/${name}.json`);
    const tokenizerJson = parseObject(path, await nodeFiles.read(path));
    const bos = name === "smollm2" ? "<|im_start|>" : "<|begin_of_text|>";
    return { tokenizerJson, tokenizerConfig: { bos_token: bos }, chatTemplate: "{{ bos_token }}x" };
  };
  const expectSame = (files: TokenizerFiles, pre: string) => {
    const tokenizer = createTokenizer(files);
    const { back, fields } = through(files, tokenizer.vocabSize + 5);
    const again = createTokenizer(back);
    for (const text of texts) expect(again.encode(text), text).toEqual(tokenizer.encode(text));
    expect(again.addsBos).toBe(tokenizer.addsBos);
    expect(back.chatTemplate).toBe(files.chatTemplate);
    expect(fields.get("tokenizer.ggml.pre")?.[1]).toBe(pre);
    expect((fields.get("tokenizer.ggml.tokens")![1] as string[]).at(-1)).toBe(`[PAD${tokenizer.vocabSize + 4}]`);
  };

  test("Llama 3's and SmolLM's: the same ids and template after a GGUF (trap 3)", async () => {
    expectSame(await read("llama3"), "llama-bpe");
    expectSame(await read("smollm2"), "smollm");
  });

  test("SentencePiece: scores out of merges give the same ids; merges that no scores give are refused", async () => {
    const file = await nodeFiles.open(root("src/formats/fixtures/sentencepiece.gguf"));
    const { metadata } = await readGguf(file);
    await file.close();
    expectSame(tokenizerFromGguf(metadata, "here"), "default");
    const trained = await read("llama2");
    expect(() => through(trained, 680)).toThrow("its merges are not those of a SentencePiece vocabulary");
  });

  const WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
  const REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  const splitBy = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  test.each<[string, object[], object | null, boolean]>([
    ["gpt-2", [{ ...bytes, use_regex: true }], null, false],
    [
      "smollm",
      [
        { type: "Digits", individual_digits: true },
        { ...bytes, use_regex: true },
      ],
      null,
      false,
    ],
    ["smaug-bpe", [splitBy(`${WORDS}|\\p{N}{1,3}|${REST}`), bytes], null, false],
    ["llama-bpe", [splitBy(`${WORDS}|\\p{N}{1,3}|${REST}`), bytes], null, true],
    ["qwen2", [splitBy(`${WORDS}|\\p{N}|${REST}`), bytes], { type: "NFC" }, false],
    ["deepseek-r1-qwen", [splitBy(`${WORDS}|\\p{N}|${REST}`), bytes], { type: "Sequence", normalizers: [] }, false],
    [
      "tekken",
      [
        splitBy(
          "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|" +
            "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}|" +
            " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        ),
        bytes,
      ],
      null,
      true,
    ],
    [
      "deepseek-coder",
      [
        splitBy("[\\r\\n]"),
        splitBy("\\s?\\p{L}+"),
        splitBy("\\s?\\p{P}+"),
        splitBy("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
        { type: "Digits", individual_digits: true },
        bytes,
      ],
      null,
      false,
    ],
  ])("the splitting that llama.cpp calls %s: the same ids after a GGUF", async (pre, steps, normalizer, ignore) => {
    const { tokenizerJson, ...rest } = await read("smollm2");
    const json = tokenizerJson as { model: object };
    const whole = steps.length === 1 ? steps[0] : { type: "Sequence", pretokenizers: steps };
    const model = { ...json.model, ignore_merges: ignore };
    expectSame({ ...rest, tokenizerJson: { ...json, normalizer, pre_tokenizer: whole, model } }, pre);
  });

  test("another way to split text is refused by name", () => {
    const files = letters(100);
    const json = { ...files.tokenizerJson, pre_tokenizer: { type: "Whitespace" } };
    expect(() => through({ ...files, tokenizerJson: json }, 100)).toThrow("its splitting (Whitespace)");
  });

  test("a token beyond the embedding is refused", () => {
    expect(() => through(letters(100), 99)).toThrow("has the id 99, the model has 99");
  });
});
