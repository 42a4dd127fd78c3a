import { expect, it } from "vitest";
import { mergeModel } from "../../export/merge.js";
import { weightShapes } from "../../models/index.js";
import { f32, sizeOf } from "../../tensor/index.js";
import { adapterBase } from "../../weights/adapter-base.js";
import { openModel } from "../../weights/model-folder.js";
import { jsonBytes, readObject } from "../json.js";
import { memoryFiles } from "../memory-files.js";
import { type Adapter, adapterShapes, readAdapter, writeAdapter } from "../peft/adapter.js";
import { openSafetensors } from "../safetensors.js";
import { hostTensor, writeSafetensors } from "../safetensors-writer.js";
import { configFromHf } from "./config.js";

const TEXT = {
  vocab_size: 11,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 4,
  model_type: "gemma3_text",
};
const WHOLE = {
  architectures: ["Gemma3ForConditionalGeneration"],
  model_type: "gemma3",
  eos_token_id: [2, 5],
  torch_dtype: "bfloat16",
  text_config: TEXT,
  vision_config: { hidden_size: 4 },
};
const CONFIG = configFromHf(WHOLE, "config.json");
const values = (shape: readonly number[], seed: number) =>
  f32(
    shape,
    Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i + seed)),
  );

/** A model that also sees, in the folder `m`, its tensors as one version of transformers names them. */
async function made(named: (name: string) => string, config: object = WHOLE) {
  const files = memoryFiles({
    "m/config.json": jsonBytes({ ...config }),
    "m/tokenizer.json": jsonBytes({ model: { vocab: {} } }),
  });
  const own = [...weightShapes(CONFIG)].map(([name, shape], i) => hostTensor(named(name), values(shape, i)));
  const eyes = ["vision_tower.layers.0.self_attn.q_proj.weight", "multi_modal_projector.norm.weight"];
  await writeSafetensors(
    files,
    "m/model.safetensors",
    [...own, ...eyes.map((name) => hostTensor(name, values([4, 4], 0)))],
    {},
  );
  return files;
}

const OLD = (name: string) => `language_model.${name}`;
const NEW = (name: string) => name.replace(/^model\./, "model.language_model.");

it("config.json of a model that also sees is read as its text part, whose missing keys are its class's", () => {
  expect(CONFIG).toMatchObject({ family: "gemma3_text", tieWordEmbeddings: true, hiddenSize: 8 });
  const { num_attention_heads: _, num_key_value_heads: __, head_dim: ___, vocab_size: ____, ...sparse } = TEXT;
  expect(configFromHf({ ...WHOLE, text_config: sparse }, "config.json")).toMatchObject({
    numAttentionHeads: 8,
    numKeyValueHeads: 4,
    headDim: 256,
    vocabSize: 262208,
  });
  const read = (more: object) => () => configFromHf({ ...WHOLE, ...more }, "config.json");
  expect(read({ quantization_config: { bits: 4 } })).toThrow("quantization_config");
  expect(read({ model_type: "llava", architectures: ["LlavaForConditionalGeneration"] })).toThrow(
    /this is LlavaForConditionalGeneration .*the text part of Gemma3ForConditionalGeneration/,
  );
  expect(read({ architectures: ["Gemma3ForSequenceClassification"] })).toThrow(
    "this is Gemma3ForSequenceClassification",
  );
});

it.each([
  ["transformers 4", OLD],
  ["transformers 5", NEW],
])("a model that also sees, as %s names it: opened, merged, its adapters in its own names", async (_, named) => {
  const files = await made(named);
  const model = await openModel(files, "m");
  expect(model.generationConfig.eosIds).toEqual([2, 5]);
  expect(model.notes).toHaveLength(1);
  expect(model.notes[0]).toContain(
    "not read: multi_modal_projector.norm.weight, vision_tower.layers.0.self_attn.q_proj.weight",
  );
  const config = {
    r: 2,
    alpha: 4,
    dropout: 0,
    useRslora: false,
    init: "gaussian",
    targetModules: ["q_proj"],
    rankPattern: { "model.layers.1.self_attn.q_proj": 3 },
  } as const;
  const tensors = new Map([...adapterShapes(config, CONFIG)].map(([name, shape], i) => [name, values(shape, i)]));
  const adapter: Adapter = { config, tensors, base: await adapterBase(model) };
  await writeAdapter(files, "a", adapter);
  const written = await openSafetensors(files, "a/adapter_model.safetensors");
  const module = "model.language_model.layers.0.self_attn.q_proj";
  expect([...written.tensors.keys()]).toContain(`base_model.model.${module}.lora_A.weight`);
  expect((await readObject(files, "a/adapter_config.json"))!.target_modules).toContain(module);
  expect((await readObject(files, "a/adapter_config.json"))!.rank_pattern).toEqual({
    "model.language_model.layers.1.self_attn.q_proj": 3,
  });
  const again = await readAdapter(files, "a", CONFIG);
  expect(again.tensors).toEqual(tensors);
  expect(again.config.rankPattern).toEqual(config.rankPattern);
  expect(again.base).toEqual(adapter.base);

  await mergeModel(files, model, again, "merged");
  const merged = await openModel(files, "merged");
  expect(merged.configJson).toMatchObject({
    architectures: ["Gemma3ForCausalLM"],
    model_type: "gemma3_text",
    eos_token_id: [2, 5],
  });
  expect(merged.configJson).not.toHaveProperty("vision_config");
  expect([...merged.tensors.tensors.keys()].sort()).toEqual([...weightShapes(CONFIG).keys()].sort());
  const same = "model.layers.1.mlp.up_proj.weight";
  expect(await merged.tensors.read(same)).toEqual(await model.tensors.read(same));
});
