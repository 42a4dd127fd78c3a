import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { A, B, foldAdapter } from "../adapters/index.js";
import { configFromHf } from "../formats/hf/config.js";
import { jsonBytes, parseObject } from "../formats/json.js";
import { type Adapter, adapterShapes, readAdapter } from "../formats/peft/adapter.js";
import { openSafetensors } from "../formats/safetensors.js";
import { loraScale } from "../models/lora-config.js";
import { nodeFiles } from "../node/files.js";
import { f16Value, f32, f32ToF16, UserError } from "../tensor/index.js";
import { adapterBase } from "../weights/adapter-base.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";
import { mergeModel, mergeWeight } from "./merge.js";

const fixture = fileURLToPath(new URL("../formats/fixtures/llama.gguf", import.meta.url));
const vectors = (path: string) => fileURLToPath(new URL(`../../test/reference/vectors/${path}`, import.meta.url));

let root: string;
let base: OpenModel;
beforeAll(async () => {
  root = await mkdtemp(`${tmpdir()}/merge-`);
  // The reference model's folder has no tokenizer; one is laid beside a copy of it.
  for (const name of ["config.json", "generation_config.json", "model.safetensors"]) {
    await nodeFiles.makeFolder(`${root}/base`);
    await nodeFiles.write(`${root}/base/${name}`, await nodeFiles.read(vectors(`llama3/model/${name}`)));
  }
  await nodeFiles.write(`${root}/base/tokenizer.json`, jsonBytes({ marker: 1 }));
  await nodeFiles.write(`${root}/base/chat_template.jinja`, "{{ messages }}");
  base = await openModel(nodeFiles, `${root}/base`);
});
afterAll(async () => {
  await base.close();
  await rm(root, { recursive: true });
});

/** W + scale B A, one product at a time. */
function naive(weight: Float32Array, a: Float32Array, b: Float32Array, r: number, scale: number): Float32Array {
  const width = a.length / r;
  return weight.map((w, at) => {
    const [o, i] = [Math.floor(at / width), at % width];
    let sum = 0;
    for (let k = 0; k < r; k++) sum += b[o * r + k]! * a[k * width + i]!;
    return w + scale * sum;
  });
}

test("merged weights are W + scale B A, and differ from the base", async () => {
  const adapter = await readAdapter(nodeFiles, vectors("llama3/all"), base.config);
  const name = "model.layers.1.mlp.down_proj.weight";
  const weight = await base.tensors.read(name);
  const merged = weight.slice();
  await mergeWeight(name, merged, adapter);
  const [a, b] = ["A", "B"].map(
    (m) => adapter.tensors.get(name.replace("weight", `lora_${m}.weight`))!.data as Float32Array,
  );
  const expected = naive(weight, a!, b!, adapter.config.r, loraScale(adapter.config));
  let worst = 0;
  let moved = 0;
  merged.forEach((value, i) => {
    worst = Math.max(worst, Math.abs(value - expected[i]!));
    moved = Math.max(moved, Math.abs(value - weight[i]!));
  });
  expect(moved).toBeGreaterThan(1e-3);
  expect(worst).toBeLessThan(1e-6);
});

test.each(["bias", "llama2", "llama3"])(
  "%s: every linear merges to what PEFT's merge_and_unload gives",
  async (name) => {
    const path = vectors(`${name}/model/config.json`);
    const config = configFromHf(parseObject(path, await nodeFiles.read(path)), path);
    const weights = await openSafetensors(nodeFiles, vectors(`${name}/model/model.safetensors`));
    const expected = await openSafetensors(nodeFiles, vectors(`${name}/expected.safetensors`));
    const adapter = await readAdapter(nodeFiles, vectors(`${name}/all`), config);
    const merged = [...expected.tensors.keys()].filter((key) => key.startsWith("all.merged."));
    expect(merged).toHaveLength(7 * config.numHiddenLayers);
    for (const key of merged) {
      const weight = key.replace("all.merged.", "");
      const values = await weights.read(weight);
      await mergeWeight(weight, values, adapter);
      const reference = await expected.read(key);
      const worst = values.reduce((most, value, i) => Math.max(most, Math.abs(value - reference[i]!)), 0);
      expect(worst, weight).toBeLessThan(1e-6);
    }
    await weights.close();
    await expected.close();
  },
);

test("a square weight's factors are not transposed", async () => {
  const weight = new Float32Array(4);
  const tensors = { [A]: f32([1, 2], new Float32Array([1, 2])), [B]: f32([2, 1], new Float32Array([3, 5])) };
  await foldAdapter(weight, { out: 2, in: 2, r: 1, scale: 10, tensors });
  expect([...weight]).toEqual([30, 60, 50, 100]);
});

test("a merged folder opens as a model; what no adapter touches keeps its bytes; tied heads stay tied", async () => {
  const adapter = await readAdapter(nodeFiles, vectors("llama3/qv"), base.config);
  const seen: string[] = [];
  await mergeModel(nodeFiles, base, adapter, `${root}/merged`, {
    maxShardBytes: 60_000,
    onTensor: (done, total, name) => seen.push(`${done}/${total} ${name}`),
  });
  const merged = await openModel(nodeFiles, `${root}/merged`);
  expect(merged.config).toEqual(base.config);
  expect(merged.config.tieWordEmbeddings).toBe(true);
  expect(merged.tensors.tensors.has("lm_head.weight")).toBe(false);
  expect(merged.generationConfig).toEqual(base.generationConfig);
  expect(merged.tokenizer.chatTemplate).toBe("{{ messages }}");
  expect(seen).toHaveLength(merged.tensors.tensors.size);
  expect(await readdir(`${root}/merged`)).toContain("model.safetensors.index.json");
  for (const name of base.tensors.tensors.keys()) {
    const same = Buffer.compare(await base.tensors.readRaw(name), await merged.tensors.readRaw(name)) === 0;
    expect(same, name).toBe(!/[qv]_proj/.test(name));
  }
  await merged.close();
});

test("a GGUF base becomes a float16 folder with the same values, its tokenizer and its template", async () => {
  const gguf = await openModel(nodeFiles, fixture);
  await mergeModel(nodeFiles, gguf, undefined, `${root}/converted`);
  const folder = await openModel(nodeFiles, `${root}/converted`);
  expect(folder.config).toEqual(gguf.config);
  expect(folder.generationConfig).toEqual(gguf.generationConfig);
  expect(folder.tokenizer.chatTemplate).toBe(gguf.tokenizer.chatTemplate);
  expect(folder.tokenizer.tokenizerJson).toEqual(JSON.parse(JSON.stringify(gguf.tokenizer.tokenizerJson)));
  for (const [name, { stored }] of folder.tensors.tensors) {
    expect(stored).toBe("f16");
    const values = await gguf.tensors.read(name);
    expect(await folder.tensors.read(name), name).toEqual(Float32Array.from(f32ToF16(values), f16Value));
  }
  const config = parseObject("config", await nodeFiles.read(`${root}/converted/config.json`));
  expect(config).toMatchObject({
    torch_dtype: "float16",
    bos_token_id: 0,
    eos_token_id: 1,
    tie_word_embeddings: false,
  });
  const written = await openSafetensors(nodeFiles, `${root}/converted/model.safetensors`);
  expect(written.metadata).toEqual({ format: "pt" });
  await written.close();
  await folder.close();
  await gguf.close();
});

test("an adapter of another base is refused (trap: merged into another base)", async () => {
  const adapter = await readAdapter(nodeFiles, vectors("llama3/qv"), base.config);
  const other: Adapter = { ...adapter, base: { name: "other", sha256: "00", stored: "q4_1" } };
  await expect(mergeModel(nodeFiles, base, other, `${root}/x`)).rejects.toThrow(
    /trained on another base \(other, q4_1\)/,
  );
  expect(await nodeFiles.stat(`${root}/x`)).toBeUndefined();
  const own: Adapter = { ...adapter, base: await adapterBase(base) };
  await mergeModel(nodeFiles, base, own, `${root}/y`, { dtype: "bf16" });
  const merged = await openModel(nodeFiles, `${root}/y`);
  expect(merged.configJson).toMatchObject({ dtype: "bfloat16" });
  await merged.close();
});

test("a merge that fails leaves nothing behind, and never overwrites", async () => {
  const config = {
    r: 1,
    alpha: 1e6,
    dropout: 0,
    useRslora: false,
    init: "gaussian",
    targetModules: ["q_proj"],
  } as const;
  const ones = ([name, shape]: [string, readonly number[]]) =>
    [name, f32(shape, new Float32Array(shape.reduce((a, b) => a * b)).fill(1))] as const;
  const huge: Adapter = { config, tensors: new Map([...adapterShapes(config, base.config)].map(ones)), base: {} };
  const before = await readdir(root);
  const error = await mergeModel(nodeFiles, base, huge, `${root}/huge`, { dtype: "f16" }).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(UserError);
  expect((error as Error).message).toMatch(/q_proj\.weight: .* is beyond float16/);
  expect(await readdir(root)).toEqual(before);
  await expect(mergeModel(nodeFiles, base, undefined, `${root}/base`)).rejects.toThrow(/something is there already/);
});
