// Each family through GGUF: written and read again by this project, and read out of files that llama.cpp's converter wrote.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { exportGguf, mergedValues } from "../../src/export/gguf.js";
import { exportGgufLora, readGgufLora } from "../../src/export/gguf-lora.js";
import { memoryFiles } from "../../src/formats/memory-files.js";
import { type Adapter, readAdapter } from "../../src/formats/peft/adapter.js";
import { openSafetensors } from "../../src/formats/safetensors.js";
import { familyOf, linearNames, loraScale, type ModelConfig, weightShapes } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { f32, type HostTensor, UserError } from "../../src/tensor/index.js";
import { type OpenModel, openModel } from "../../src/weights/model-folder.js";
import { llamaCpp, llamaCppGreedy, printable } from "../llama-cpp.js";
import { inFloat64 } from "./evaluate.js";
import { REFUSED, runnable, withoutLayers } from "./runnable.js";
import { CASES, type CaseName, readCase, readTensors, relativeError, VECTORS } from "./vectors.js";
import { rowInputs, wholeModel } from "./whole-model.js";

/** A case's model, with a tokenizer that fits its vocabulary. */
async function folderOf(name: CaseName, config: ModelConfig): Promise<OpenModel> {
  const tensors = await openSafetensors(nodeFiles, `${VECTORS}${name}/model/model.safetensors`);
  return {
    path: name,
    kind: "hf",
    config,
    tensors,
    tokenizer: { tokenizerJson: printable(config.vocabSize), tokenizerConfig: { eos_token: "</s>" } },
    generationConfig: { eosIds: [2] },
    ignored: [],
    notes: [],
    hash: async () => "",
    close: () => tensors.close(),
  };
}

async function weightsOf(model: OpenModel, adapter?: Adapter): Promise<Map<string, HostTensor>> {
  const weights = new Map<string, HostTensor>();
  for (const [name, shape] of weightShapes(model.config))
    weights.set(name, f32(shape, await mergedValues(model, adapter, name)));
  return weights;
}

async function logitsOf(
  config: ModelConfig,
  weights: ReadonlyMap<string, HostTensor>,
  ids: readonly number[],
): Promise<ArrayLike<number>> {
  const supervised = Uint8Array.from(ids, (_, i) => Number(i === 1));
  const row = { index: 0, ids: Int32Array.from(ids), supervised };
  const results = await inFloat64(
    wholeModel(config, ids.length, 1),
    new Map([...weights, ...rowInputs(config, row, 1)]),
  );
  return results.get("logits")!;
}

describe.each(CASES)("%s, written as GGUF and read again", (name) => {
  const reference = readCase(name);
  const config = runnable(name, reference.config);
  // llama.cpp knows a Mistral as a Llama.
  const { family: _, ...llama } = config;
  const expected = familyOf(config).gguf.architecture === "llama" ? llama : config;

  it("the same configuration, weights and logits", async () => {
    const model = await folderOf(name, config);
    const files = memoryFiles();
    await exportGguf(files, model, undefined, "m.gguf", { type: "f32", name: "m" });
    const back = await openModel(files, "m.gguf");
    expect(back.config).toEqual(expected);
    expect(back.notes).toEqual([]);
    const [before, after] = [await weightsOf(model), await weightsOf(back)];
    for (const [key, { data, shape }] of before) {
      // A norm of 1 + w is stored as that sum, whose last bits are what is left of w's.
      const sum = config.unitOffsetNorm && shape.length === 1;
      const kept = sum ? (data as Float32Array).map((w) => Math.fround(w + 1) - 1) : data;
      expect(after.get(key)!.data, key).toEqual(kept);
      const raw = await back.tensors.readRaw(key);
      expect(new Float32Array(raw.buffer, 0, raw.length / 4), key).toEqual(kept);
    }
    const ids = [...reference.rows[3]!.ids];
    const logits = await logitsOf(config, before, ids);
    expect(relativeError(await logitsOf(back.config, after, ids), logits)).toBeLessThan(1e-6);
    await model.close();
  });

  it.runIf(REFUSED[name])(
    "what llama.cpp would compute otherwise is refused by its key, and nothing is left",
    async () => {
      const model = await folderOf(name, reference.config);
      const files = memoryFiles();
      const attempt = exportGguf(files, model, undefined, "m.gguf", { type: "f32", name: "m" });
      await expect(attempt).rejects.toThrow(UserError);
      await expect(attempt).rejects.toThrow(REFUSED[name]![0]);
      expect(await files.stat("m.gguf")).toBeUndefined();
      await model.close();
    },
  );

  it("a LoRA GGUF on every linear layer comes back, and is refused for another architecture", async () => {
    const adapter = await readAdapter(nodeFiles, `${reference.folder}/all`, config);
    const files = memoryFiles();
    await exportGgufLora(files, adapter, config, "a.gguf", { type: "f32", name: "m" });
    const back = await readGgufLora(files, "a.gguf", config);
    expect(back.config.targetModules).toEqual(linearNames(config));
    expect(loraScale(back.config)).toBeCloseTo(loraScale(adapter.config), 6);
    expect(back.tensors).toEqual(adapter.tensors);
    const other: ModelConfig = {
      ...config,
      family: familyOf(config).gguf.architecture === "qwen2" ? "qwen3" : "qwen2",
    };
    await expect(readGgufLora(files, "a.gguf", other)).rejects.toThrow("general.architecture should be");
  });
});

it("what llama.cpp computes otherwise than a Phi-3 file says is said", () => {
  const { config } = readCase("phi3");
  const { differs } = familyOf(config).gguf;
  expect(differs!(config)).toEqual([
    expect.stringContaining("window of 9 tokens out"),
    expect.stringContaining("--ctx-size 16"),
  ]);
  const { layers: _, ropeScaling: __, ...plain } = config;
  expect(differs!(plain)).toEqual([]);
});

describe("files of llama.cpp's converter", () => {
  const folder = fileURLToPath(new URL("../reference/vectors/gguf/", import.meta.url));
  const expected = readTensors(`${folder}expected.safetensors`);
  const names = [...expected.keys()].flatMap((key) => (key.endsWith(".ids") ? [key.slice(0, -4)] : []));

  it("are there for each architecture", () => {
    const families = new Set(names.map((name) => familyOf({ family: name }).gguf.architecture));
    const all = CASES.map((name) => familyOf(readCase(name).config).gguf.architecture);
    expect([...families].sort()).toEqual([...new Set(all)].sort());
  });

  it.each(names)("%s: transformers' logits", async (name) => {
    const model = await openModel(nodeFiles, `${folder}${name}.gguf`);
    expect(model.notes).toEqual([]);
    expect(model.ignored).toEqual([]);
    const ids = Array.from(expected.get(`${name}.ids`)!.data as Float32Array);
    const logits = await logitsOf(model.config, await weightsOf(model), ids);
    const error = relativeError(logits, expected.get(`${name}.logits`)!.data as Float32Array);
    expect(error).toBeLessThan(1e-5);
    await model.close();
  });
});

/**
 * The model that every llama.cpp runs: it leaves Phi-3's windows out, and turns by the long factors where its context is long, whatever the
 * text is; of Gemma 3 some (node-llama-cpp 3.21's) know no pattern of windows but five of six layers (docs/export.md).
 */
function inLlamaCpp(name: CaseName, config: ModelConfig): ModelConfig {
  if (name === "phi3") return withoutLayers(config);
  const known = runnable(name, config);
  return name === "gemma3_text" ? { ...known, layers: known.layers!.map(() => known.layers![0]!) } : known;
}

describe.skipIf(!llamaCpp)("llama.cpp continues as this project does", () => {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-gguf-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const at = (name: string) => join(folder, name);
  const count = 8;

  async function greedy(config: ModelConfig, weights: ReadonlyMap<string, HostTensor>, prompt: readonly number[]) {
    const ids = [...prompt];
    while (ids.length < prompt.length + count) {
      const last = Array.from(await logitsOf(config, weights, ids)).slice(-config.vocabSize);
      ids.push(last.indexOf(Math.max(...last)));
    }
    return ids.slice(prompt.length);
  }

  it.each(CASES)("%s: merged, and an adapter beside its base", { timeout: 120_000 }, async (name) => {
    const reference = readCase(name);
    const config = inLlamaCpp(name, reference.config);
    const prompt = [...reference.rows[3]!.ids].slice(0, 20);
    const model = await folderOf(name, config);
    const adapter = await readAdapter(nodeFiles, `${reference.folder}/all`, config);
    const as = { type: "f32", name: "m" } as const;
    await exportGguf(nodeFiles, model, adapter, at(`${name}.gguf`), as);
    await exportGguf(nodeFiles, model, undefined, at(`${name}-base.gguf`), as);
    await exportGgufLora(nodeFiles, adapter, config, at(`${name}-lora.gguf`), as);
    const expected = await greedy(config, await weightsOf(model, adapter), prompt);
    const base = await greedy(config, await weightsOf(model), prompt);
    await model.close();
    expect(base).not.toEqual(expected);
    expect(await llamaCppGreedy(at(`${name}.gguf`), "-", prompt, count)).toEqual(expected);
    expect(await llamaCppGreedy(at(`${name}-base.gguf`), "-", prompt, count)).toEqual(base);
    expect(await llamaCppGreedy(at(`${name}-base.gguf`), at(`${name}-lora.gguf`), prompt, count)).toEqual(expected);
  });
});
