import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { nodeFiles } from "../../node/files.js";
import { createTokenizer } from "../../tokenizers/tokenizer.js";
import { readGguf } from "./reader.js";
import { tokenizerFromGguf } from "./tokenizer.js";

// Published vocabularies (Llama 2 and 3, Phi-3, Qwen2, Command R, GPT-2 and others): llama.cpp keeps them with texts, and the tokens that
// these have to become.
const folder = process.env.LOWRANK_LLAMA_CPP && join(process.env.LOWRANK_LLAMA_CPP, "models");
if (!folder)
  console.log("published vocabularies are skipped: LOWRANK_LLAMA_CPP does not name a folder with llama.cpp's source");

/** Those of models that lowrank does not run; each is refused by its name. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  "bert-bge": /its tokenizer is "bert"/,
  "deepseek-llm": /"deepseek-llm" is not supported/,
  falcon: /"falcon" is not supported/,
  "gemma-4": /its tokenizer is "gemma4"/,
  qwen35: /"qwen35" is not supported/,
};

const BETWEEN = "\n__ggml_vocab_test__\n";
const names = folder ? readdirSync(folder).flatMap((file) => /^ggml-vocab-(.+)\.gguf\.out$/.exec(file)?.[1] ?? []) : [];

it.skipIf(!folder)("the texts of Phi-3, both Llamas and Qwen2 are there", () => {
  expect(names).toEqual(expect.arrayContaining(["phi-3", "llama-spm", "llama-bpe", "qwen2"]));
});

describe.each(names)("%s", (name) => {
  const path = join(folder!, `ggml-vocab-${name}.gguf`);
  const open = async () => {
    const file = await nodeFiles.open(path);
    try {
      return createTokenizer(tokenizerFromGguf((await readGguf(file)).metadata, path));
    } finally {
      await file.close();
    }
  };

  it.skipIf(!(name in REFUSED))("is refused by name", async () => {
    await expect(open()).rejects.toThrow(REFUSED[name]);
  });

  it.skipIf(name in REFUSED || !existsSync(path))(
    "makes llama.cpp's tokens of its texts, and the texts again",
    async () => {
      const tokenizer = await open();
      const texts = readFileSync(`${path}.inp`, "utf8").split(BETWEEN);
      const tokens = readFileSync(`${path}.out`, "utf8").split("\n");
      expect(texts.length).toBeGreaterThan(40);
      for (const [i, text] of texts.entries()) {
        const found = tokenizer.encode(text, { addSpecialTokens: false });
        expect(found.join(" "), JSON.stringify(text)).toBe(tokens[i]!.trim());
        expect(tokenizer.decode(found), JSON.stringify(text)).toBe(text);
      }
    },
  );
});
