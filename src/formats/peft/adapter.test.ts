import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import type { ModelConfig } from "../../models/config.js";
import { type LoraConfig, loraScale } from "../../models/lora-config.js";
import { nodeFiles } from "../../node/files.js";
import { f32, random, UserError } from "../../tensor/index.js";
import type { Files } from "../files.js";
import { configFromHf } from "../hf/config.js";
import { type JsonObject, jsonBytes, parseObject } from "../json.js";
import { memoryFiles } from "../memory-files.js";
import { openSafetensors } from "../safetensors.js";
import { hostTensor, writeSafetensors } from "../safetensors-writer.js";
import { type Adapter, adapterShapes, changesNothing, readAdapter, writeAdapter } from "./adapter.js";

const vectors = (path: string) => fileURLToPath(new URL(`../../../test/reference/vectors/${path}`, import.meta.url));

async function modelConfig(name: string): Promise<ModelConfig> {
  const path = vectors(`${name}/model/config.json`);
  return configFromHf(parseObject(path, await nodeFiles.read(path)), path);
}

let model: ModelConfig;
beforeAll(async () => {
  model = await modelConfig("llama3");
});

function makeAdapter(more: Partial<LoraConfig> = {}): Adapter {
  const config: LoraConfig = {
    r: 2,
    alpha: 5,
    dropout: 0.25,
    useRslora: true,
    init: "gaussian",
    targetModules: ["q_proj", "down_proj"],
    ...more,
  };
  const rng = random(1, "adapter");
  const tensors = new Map(
    [...adapterShapes(config, model)].map(([name, shape]) => {
      const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => rng.normal());
      return [name, f32(shape, values)] as const;
    }),
  );
  return { config, tensors, base: { name: "some/base", sha256: "ab".repeat(32), stored: "q4_1" } };
}

/** The written adapter `a` in memory, with its configuration or tensors changed. */
async function altered(change: { config?: JsonObject; tensors?: (names: string[]) => string[] }): Promise<Files> {
  const files = memoryFiles();
  await writeAdapter(files, "a", makeAdapter());
  const config = parseObject("config", await files.read("a/adapter_config.json"));
  await files.write("a/adapter_config.json", jsonBytes({ ...config, ...change.config }));
  if (change.tensors) {
    const source = await openSafetensors(files, "a/adapter_model.safetensors");
    const kept = change.tensors([...source.tensors.keys()]);
    const tensors = [];
    for (const name of kept) {
      const from = source.tensors.get(name) ?? [...source.tensors.values()][0]!;
      tensors.push(hostTensor(name, f32(from.shape, await source.read(from.name))));
    }
    await writeSafetensors(files, "a/adapter_model.safetensors", tensors);
  }
  return files;
}

describe("adapters that PEFT wrote", () => {
  test.each(["bias", "llama2", "llama3"])("%s: q,v and all linears load, tensor for tensor", async (name) => {
    const config = await modelConfig(name);
    for (const kind of ["qv", "all"]) {
      const path = vectors(`${name}/${kind}`);
      const adapter = await readAdapter(nodeFiles, path, config);
      expect(adapter.config.targetModules).toHaveLength(kind === "qv" ? 2 : 7);
      expect(adapter.config.layersToTransform).toBeUndefined();
      const source = await openSafetensors(nodeFiles, `${path}/adapter_model.safetensors`);
      expect(adapter.tensors.size).toBe(source.tensors.size);
      for (const [key, tensor] of adapter.tensors) {
        expect(tensor.data).toEqual(await source.read(`base_model.model.${key}`));
      }
      await source.close();
      expect(adapter.base).toEqual({ name: "tiny-llama" });
    }
  });

  test("written again, an adapter has the very tensors bytes that PEFT wrote", async () => {
    const path = vectors("llama3/all");
    const adapter = await readAdapter(nodeFiles, path, model);
    const files = memoryFiles();
    await writeAdapter(files, "out", { ...adapter, base: { name: "tiny-llama" } });
    expect(await files.read("out/adapter_model.safetensors")).toEqual(
      await nodeFiles.read(`${path}/adapter_model.safetensors`),
    );
  });
});

test("an adapter comes back as it was written: ranks, rsLoRA scale, base, layers", async () => {
  const excludedModules = ["model.layers.0.self_attn.q_proj", "model.layers.2.mlp.down_proj"];
  for (const more of [
    {},
    { layersToTransform: [1] },
    { init: "kaiming", useRslora: false } as const,
    { excludedModules },
    { layersToTransform: [0, 2], excludedModules, rankPattern: { "layers.2.*q_proj": 3 } },
  ]) {
    const files = memoryFiles();
    const adapter = makeAdapter(more);
    await writeAdapter(files, "a", adapter);
    const read = await readAdapter(files, "a", model);
    expect(read).toEqual(adapter);
    expect(loraScale(read.config)).toBe(loraScale(adapter.config));
  }
});

test("adapter_config.json has only keys that PEFT 0.7 knows, and the names PEFT gives tensors (trap: newer keys refused)", async () => {
  const files = memoryFiles();
  await writeAdapter(files, "a", makeAdapter({ layersToTransform: [0] }));
  const config = parseObject("config", await files.read("a/adapter_config.json"));
  expect(config).toMatchInlineSnapshot(`
    {
      "alpha_pattern": {},
      "auto_mapping": null,
      "base_model_name_or_path": "some/base",
      "bias": "none",
      "fan_in_fan_out": false,
      "inference_mode": true,
      "init_lora_weights": "gaussian",
      "layers_pattern": null,
      "layers_to_transform": [
        0,
      ],
      "lora_alpha": 5,
      "lora_dropout": 0.25,
      "modules_to_save": null,
      "peft_type": "LORA",
      "r": 2,
      "rank_pattern": {},
      "revision": null,
      "target_modules": [
        "q_proj",
        "down_proj",
      ],
      "task_type": "CAUSAL_LM",
      "use_rslora": true,
    }
  `);
  const source = await openSafetensors(files, "a/adapter_model.safetensors");
  expect([...source.tensors.keys()].sort()).toEqual([
    "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight",
    "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
  ]);
  expect(source.metadata).toEqual({ base_sha256: "ab".repeat(32), base_stored: "q4_1", format: "pt" });
});

test("blocks that adapt different layers are told by paths, which PEFT has always read", async () => {
  const files = memoryFiles();
  await writeAdapter(
    files,
    "a",
    makeAdapter({ excludedModules: ["model.layers.1.mlp.down_proj"], layersToTransform: [1, 2] }),
  );
  const config = parseObject("config", await files.read("a/adapter_config.json"));
  expect(config.target_modules).toEqual([
    "model.layers.1.self_attn.q_proj",
    "model.layers.2.self_attn.q_proj",
    "model.layers.2.mlp.down_proj",
  ]);
  expect(config.layers_to_transform).toBeNull();
});

describe("adapters whose blocks adapt different layers, as PEFT wrote them", () => {
  test.each(["regex", "exclude"])("%s: read and written again, the tensors' bytes are the same", async (name) => {
    const path = vectors(`blocks/${name}`);
    const adapter = await readAdapter(nodeFiles, path, model);
    expect([...adapter.tensors.keys()].filter((key) => key.includes("lora_A"))).toMatchSnapshot();
    const files = memoryFiles();
    await writeAdapter(files, "out", adapter);
    expect(await files.read("out/adapter_model.safetensors")).toEqual(
      await nodeFiles.read(`${path}/adapter_model.safetensors`),
    );
    expect((await readAdapter(files, "out", model)).config).toEqual(adapter.config);
  });
});

describe("an adapter is applied whole or refused (trap: silently not applied)", () => {
  const Q = "base_model.model.model.layers.0.self_attn.q_proj";
  test.each([
    [
      "a missing tensor",
      (names: string[]) => names.filter((n) => n !== `${Q}.lora_B.weight`),
      /layers\.0\.self_attn\.q_proj\.lora_B\.weight is missing/,
    ],
    [
      "an unknown tensor",
      (names: string[]) => [...names, `${Q}.lora_magnitude_vector`],
      /lora_magnitude_vector is not called for/,
    ],
    [
      "names of another kind",
      (names: string[]) => names.map((n) => n.replace("base_model.model.", "")),
      /is unknown; PEFT's names start with base_model\.model\./,
    ],
    [
      "names with another adapter's name in them",
      (names: string[]) => names.map((n) => n.replace(".weight", ".mine.weight")),
      /is missing/,
    ],
    [
      "a tensor with and without the name default",
      (names: string[]) => [...names, `${Q}.lora_A.default.weight`],
      /q_proj\.lora_A\.weight is there twice/,
    ],
    [
      "a whole weight that was saved along",
      (names: string[]) => [...names, "base_model.model.model.embed_tokens.weight"],
      /model\.embed_tokens\.weight is not called for .*; merge this adapter with PEFT first/,
    ],
    [
      "a bias that was trained",
      (names: string[]) => [...names, `${Q}.base_layer.bias`],
      /q_proj\.base_layer\.bias is not called for .*; merge this adapter with PEFT first/,
    ],
  ])("%s", async (_, tensors, message) => {
    const error = await readAdapter(await altered({ tensors }), "a", model).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(message);
  });

  test.each([
    [{ use_dora: true }, /q_proj\.lora_magnitude_vector is missing, though its configuration calls for it/],
    [{ bias: "some" }, /bias = "some" is not known \(known: none, all, lora_only\)/],
    [{ modules_to_save: ["lm_head"] }, /lm_head\.weight is missing, though its configuration calls for it/],
    [{ modules_to_save: "lm_head" }, /modules_to_save must be a list of names, got "lm_head"/],
    [{ modules_to_save: ["proj"] }, /down_proj is to be trained whole and to carry an adapter/],
    [{ modules_to_save: ["q_proj"] }, /q_proj is to be trained whole and to carry an adapter/],
    [{ rank_pattern: { "(q_proj": 4 } }, /rank_pattern.*missing \)/],
    [{ rank_pattern: { q_proj: 4 } }, /q_proj\.lora_A\.weight should be \[4,48\]/],
    [{ alpha_pattern: { q_proj: 0 } }, /alpha_pattern: "q_proj" must be a number above 0/],
    [{ alpha_pattern: { "(q)\\1_proj": 4 } }, /alpha_pattern.*is not supported/],
    [{ lora_bias: true }, /q_proj\.lora_B\.bias is missing, though its configuration calls for it/],
    [{ megatron_config: { tensor_model_parallel_size: 2 } }, /megatron_config = .* is not supported/],
    [{ corda_config: { corda_method: "kpm" } }, /corda_config = .* is not supported/],
    [{ target_parameters: ["mlp.experts"] }, /target_parameters = .* is not supported/],
    [{ layer_replication: [[0, 2]] }, /layer_replication = .* is not supported/],
    [{ trainable_token_indices: [3] }, /token_adapter\.trainable_tokens_delta is missing, though its configuration/],
    [{ trainable_token_indices: [3, 99999] }, /token 99999 is not there; this model has tokens 0 to/],
    [{ trainable_token_indices: [3, 3] }, /token 3 is named twice/],
    [{ trainable_token_indices: { lm_head: [3] } }, /of \["lm_head"\] are not supported \(supported: embed_tokens\)/],
    [{ trainable_token_indices: ["a"] }, /trainable_token_indices must be token ids/],
    [
      { trainable_token_indices: [3], modules_to_save: ["embed_tokens"] },
      /modules_to_save trains the embedding whole, its rows among it/,
    ],
    [{ exclude_modules: ["q_proj"] }, /q_proj\.lora_A\.weight is not called for/],
    [{ exclude_modules: ["q_proj", "down_proj"] }, /it adapts no layer/],
    [{ exclude_modules: 3 }, /exclude_modules must be names, got 3/],
    [{ some_future_key: { a: 1 } }, /some_future_key/],
    [
      { init_lora_weights: "pissa" },
      /init_lora_weights "pissa" changes the base's weights.*; convert it with PEFT first/,
    ],
    [
      { init_lora_weights: "loftq", loftq_config: { loftq_bits: 4, loftq_iter: 1 } },
      /"loftq" changes the base's .*save the changed base \(model\.unload\(\)\.save_pretrained\).*init_lora_weights to true/,
    ],
    [{ peft_type: "IA3" }, /peft_type "IA3"/],
    [{ task_type: "SEQ_CLS" }, /task_type "SEQ_CLS"/],
    [{ target_modules: ["q_prj"] }, /"q_prj" matches no linear layer of this model.*did you mean q_proj/],
    [{ target_modules: ["q_proj"] }, /down_proj\.lora_A\.weight is not called for/],
    [{ target_modules: "all-linear" }, /is missing, though its configuration calls for it/],
    [
      { target_modules: ["model.layers.0.self_attn.q_proj", "mlp.down_proj"] },
      /model\.layers\.1\.self_attn\.q_proj\.lora_A\.weight is not called for/,
    ],
    [{ layers_to_transform: [0, 9] }, /adapts layer 9/],
    [{ r: 3 }, /should be \[3,\d+\] for this model and r = 3, but is \[2,/],
    [{ r: 0 }, /r must be a number above 0/],
    [{ lora_alpha: "16" }, /lora_alpha must be a number above 0, got "16"/],
  ])("%j", async (config, message) => {
    const error = await readAdapter(await altered({ config }), "a", model).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(message);
  });

  test("keys that are off, whatever their names, are fine; a regular expression is never run", async () => {
    const config = {
      use_qalora: false,
      new_thing: null,
      other: {},
      fan_in_fan_out: true,
      loftq_config: { loftq_bits: 4, loftq_iter: 1 },
      exclude_modules: [],
      target_modules: ".*(q_proj|down_proj)",
    };
    expect((await readAdapter(await altered({ config }), "a", model)).config.targetModules).toEqual([
      "q_proj",
      "down_proj",
    ]);
    const slow = { target_modules: "(a+)+(a+)+(a+)+$".repeat(9) };
    const start = performance.now();
    await readAdapter(await altered({ config: slow }), "a", model);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

test("values that are not finite, as a training that failed leaves them, are refused", async () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const files = memoryFiles();
    const adapter = makeAdapter();
    const name = "model.layers.0.mlp.down_proj.lora_B.weight";
    (adapter.tensors.get(name)!.data as Float32Array)[3] = value;
    await writeAdapter(files, "a", adapter);
    await expect(readAdapter(files, "a", model)).rejects.toThrow(`a: ${name} holds values that are not finite`);
  }
});

test("a number that Python wrote is shown as it was written", async () => {
  const files = await altered({});
  const text = new TextDecoder().decode(await files.read("a/adapter_config.json"));
  for (const float of ["Infinity", "-Infinity", "NaN"]) {
    await files.write("a/adapter_config.json", text.replace(/"lora_alpha": \d+/, `"lora_alpha": ${float}`));
    await expect(readAdapter(files, "a", model)).rejects.toThrow(`lora_alpha must be a number above 0, got ${float}`);
  }
});

test("tensors that name their adapter default are the same tensors", async () => {
  const tensors = (names: string[]) => names.map((n) => n.replace(".weight", ".default.weight"));
  const files = await altered({});
  const plain = await openSafetensors(files, "a/adapter_model.safetensors");
  const renamed = await Promise.all(
    [...plain.tensors].map(async ([name, { shape }]) =>
      hostTensor(tensors([name])[0]!, f32(shape, await plain.read(name))),
    ),
  );
  const expected = await readAdapter(files, "a", model);
  await writeSafetensors(files, "a/adapter_model.safetensors", renamed);
  expect((await readAdapter(files, "a", model)).tensors).toEqual(expected.tensors);
});

test("a configuration may leave out what has a default in PEFT, and name biases that no layer has", async () => {
  const files = memoryFiles();
  await writeAdapter(files, "a", makeAdapter({ r: 8, alpha: 8, useRslora: false, dropout: 0 }));
  const least = { peft_type: "LORA", target_modules: ["q_proj", "down_proj"] };
  for (const more of [
    {},
    { bias: "all" },
    { bias: "lora_only", r: null, lora_dropout: null, revision: "", new_key: "" },
  ]) {
    await files.write("a/adapter_config.json", jsonBytes({ ...least, ...more }));
    const { config } = await readAdapter(files, "a", model);
    expect([config.r, config.alpha, config.dropout]).toEqual([8, 8, 0]);
  }
});

test("an adapter that changes nothing is told from one that does (trap: output equal to the base's)", () => {
  const adapter = makeAdapter();
  expect(changesNothing(adapter)).toBe(false);
  const fresh = [...adapter.tensors].map(([name, t]) =>
    name.includes("lora_B") ? ([name, f32(t.shape, new Float32Array(t.data.length))] as const) : ([name, t] as const),
  );
  expect(changesNothing({ ...adapter, tensors: new Map(fresh) })).toBe(true);
});

test("a pickled adapter is refused with the way to convert", async () => {
  const files = memoryFiles({
    "a/adapter_config.json": jsonBytes({ peft_type: "LORA", r: 1, lora_alpha: 1 }),
    "a/adapter_model.bin": "x",
  });
  await expect(readAdapter(files, "a", model)).rejects.toThrow(/pickle checkpoints .* are refused; convert/);
  await expect(readAdapter(memoryFiles(), "a", model)).rejects.toThrow(/adapter_config.json is missing/);
});

test("a base of the hub at a revision is written as PEFT writes it, and read as one name", async () => {
  const files = memoryFiles();
  const written = async (name: string) => {
    await writeAdapter(files, "b", { ...makeAdapter(), base: { name } });
    const json = parseObject("config", await files.read("b/adapter_config.json"));
    expect((await readAdapter(files, "b", model)).base.name).toBe(name);
    return [json.base_model_name_or_path, json.revision];
  };
  expect(await written("owner/name@v1.0")).toEqual(["owner/name", "v1.0"]);
  expect(await written("owner/name")).toEqual(["owner/name", null]);
  expect(await written("/models/owner/name@v1")).toEqual(["/models/owner/name@v1", null]);
  const config = { base_model_name_or_path: "/models/owner/name", revision: "main" };
  expect((await readAdapter(await altered({ config }), "a", model)).base.name).toBe("/models/owner/name");
});
