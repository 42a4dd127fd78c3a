import { expect, it } from "vitest";
import { loadConfig, shippedConfigs } from "../../src/cli/configs.js";
import { configFromHf } from "../../src/formats/hf/config.js";
import type { JsonObject } from "../../src/formats/json.js";
import { type Fn, verify } from "../../src/graph/index.js";
import { type ModelConfig, weightShapes } from "../../src/models/index.js";
import { toOnnx } from "../../src/onnx/index.js";
import { freshLora } from "../../src/recipes/start-values.js";
import { type Device, type Program, tensor, type View } from "../../src/runtime/index.js";
import { f32, sizeOf } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { type Trainables, trainableShapes } from "../../src/training/layer-plan.js";

// hidden, intermediate, layers, heads, key-value heads, vocabulary, tied: from the models' config.json on the hub.
const MODELS: Record<string, Sizes> = {
  "llama2/7B_lora": [4096, 11008, 32, 32, 32, 32000, false],
  "llama2/7B_qlora": [4096, 11008, 32, 32, 32, 32000, false],
  "llama2/13B_lora": [5120, 13824, 40, 40, 40, 32000, false],
  "llama3/8B_lora": [4096, 14336, 32, 32, 8, 128256, false],
  "llama3_1/8B_lora": [4096, 14336, 32, 32, 8, 128256, false],
  "llama3_1/8B_qlora": [4096, 14336, 32, 32, 8, 128256, false],
  "llama3_2/1B_lora": [2048, 8192, 16, 32, 8, 128256, true],
  "llama3_2/3B_lora": [3072, 8192, 28, 24, 8, 128256, true],
  "tinyllama/1_1B_lora": [2048, 5632, 22, 32, 4, 32000, false],
  "smollm2/135M_lora": [576, 1536, 30, 9, 3, 49152, true],
  "smollm2/135M_facts": [576, 1536, 30, 9, 3, 49152, true],
  "smollm2/135M_grpo": [576, 1536, 30, 9, 3, 49152, true],
  "smollm2/360M_lora": [960, 2560, 32, 15, 5, 49152, true],
  "smollm2/1_7B_lora": [2048, 8192, 24, 32, 32, 49152, true],
  "tiny/lora": [128, 352, 3, 4, 2, 512, true],
  "tiny/pretrain": [128, 352, 3, 4, 2, 512, true],
  "tiny/grpo": [128, 352, 3, 4, 2, 512, true],
};

/** config.json of the other families, as far as they are no defaults: from the models' config.json on the hub. */
const FAMILY_MODELS: Record<string, JsonObject> = {
  "qwen2_5/0.5B_lora": said("qwen2", [896, 4864, 24, 14, 2, 151936, true], { rope_theta: 1e6 }),
  "qwen2_5/1.5B_lora": said("qwen2", [1536, 8960, 28, 12, 2, 151936, true], { rope_theta: 1e6 }),
  "qwen2_5/7B_qlora": said("qwen2", [3584, 18944, 28, 28, 4, 152064, false], { rope_theta: 1e6 }),
  "qwen3/0.6B_lora": said("qwen3", [1024, 3072, 28, 16, 8, 151936, true], { head_dim: 128, rope_theta: 1e6 }),
  "qwen3/1.7B_lora": said("qwen3", [2048, 6144, 28, 16, 8, 151936, true], { head_dim: 128, rope_theta: 1e6 }),
  "qwen3/4B_qlora": said("qwen3", [2560, 9728, 36, 32, 8, 151936, true], { head_dim: 128, rope_theta: 1e6 }),
  "gemma3/270M_lora": said("gemma3_text", [640, 2048, 18, 4, 1, 262144, true], { sliding_window: 512 }),
  "gemma3/1B_lora": said("gemma3_text", [1152, 6912, 26, 4, 1, 262144, true], { sliding_window: 512 }),
  "gemma3/4B_qlora": {
    model_type: "gemma3",
    architectures: ["Gemma3ForConditionalGeneration"],
    text_config: {
      hidden_size: 2560,
      intermediate_size: 10240,
      num_hidden_layers: 34,
      rope_scaling: { factor: 8, rope_type: "linear" },
      sliding_window: 1024,
    },
  },
  "gemma2/2B_lora": said("gemma2", [2304, 9216, 26, 8, 4, 256000, true], {}),
  "smollm3/3B_qlora": said("smollm3", [2048, 11008, 36, 16, 4, 128256, true], { rope_theta: 5e6 }),
  "mistral/7B_qlora": said("mistral", [4096, 14336, 32, 32, 8, 32768, false], {
    sliding_window: null,
    rope_theta: 1e6,
  }),
  "granite3/2B_lora": said("granite", [2048, 8192, 40, 32, 8, 49159, true], {
    attention_multiplier: 0.015625,
    embedding_multiplier: 12,
    residual_multiplier: 0.22,
    logits_scaling: 8,
    rope_theta: 1e7,
  }),
  "phi4/mini_qlora": said("phi3", [3072, 8192, 32, 24, 8, 200064, true], {
    partial_rotary_factor: 0.75,
    max_position_embeddings: 131072,
    original_max_position_embeddings: 4096,
    rope_scaling: { type: "longrope", short_factor: Array(48).fill(1), long_factor: Array(48).fill(2) },
    sliding_window: 262144,
  }),
  "olmo2/1B_lora": said("olmo2", [2048, 8192, 16, 16, 16, 100352, false], { rope_theta: 5e5 }),
};

type Sizes = readonly [number, number, number, number, number, number, boolean];

function said(
  type: string,
  [hidden, intermediate, layers, heads, kv, vocabulary, tied]: Sizes,
  more: JsonObject,
): JsonObject {
  return {
    model_type: type,
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kv,
    vocab_size: vocabulary,
    tie_word_embeddings: tied,
    ...more,
  };
}

function modelOf(name: string): ModelConfig {
  const json = FAMILY_MODELS[name];
  if (json) return configFromHf(json, name);
  const [hiddenSize, intermediateSize, layers, heads, kvHeads, vocabSize, tied] = MODELS[name]!;
  return {
    vocabSize,
    hiddenSize,
    intermediateSize,
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    numKeyValueHeads: kvHeads,
    headDim: hiddenSize / heads,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    maxPositionEmbeddings: 8192,
    tieWordEmbeddings: tied,
    attentionBias: false,
    mlpBias: false,
  };
}

/** A device without memory or engine: it checks and lowers every program it is asked for, and that each is fed whole. */
function dryDevice(): { device: Device; programs: Program[] } {
  const programs: Program[] = [];
  let buffers = 0;
  const device: Device = {
    provider: "cpu",
    precision: "full",
    allocate: (room) => ({ id: buffers++, bytes: typeof room === "number" ? room : room.bytes }),
    free() {},
    compile(f: Fn) {
      verify(f);
      expect(toOnnx(f, "cpu").length).toBeGreaterThan(0);
      const names = (named: Iterable<readonly [string, unknown]>) => [...named].map(([name]) => name);
      const program = {
        id: programs.length,
        name: f.name,
        inputs: names(Object.entries(f.inputs)),
        outputs: names(Object.entries(f.outputs)),
      };
      programs.push(program);
      return program;
    },
    updates: () => [],
    bind: (views) => ({ id: 0, names: new Set(Object.keys(views)) }),
    unbind() {},
    release() {},
    run(program, inputs) {
      expect(Object.keys(inputs)).toEqual(expect.arrayContaining([...program.inputs]));
    },
    upload() {},
    copy() {},
    async apart(record) {
      record();
      return 0;
    },
    download: async (view: View) => new Float32Array(sizeOf(view.shape)),
    flush: async () => {},
    memory: async () => ({ resident: 0, peak: 0, buffers: 0 }),
    dispose: async () => {},
  };
  return { device, programs };
}

async function dryStep(name: string): Promise<BlockTrainer> {
  const config = await loadConfig(name, []);
  const model = modelOf(name);
  const trainables: Trainables = config.fullFinetune
    ? { kind: "full" }
    : { kind: "lora", lora: freshLora(config, model) };
  const { device, programs } = dryDevice();
  const weights = new Map([...weightShapes(model)].map(([key, shape]) => [key, tensor(device, "f32", shape)]));
  const zeros = (shape: readonly number[]) => f32(shape, new Float32Array(sizeOf(shape)));
  const initial = new Map([...trainableShapes(model, trainables)].map(([key, shape]) => [key, zeros(shape)]));
  const { checkpointing, optimizer, seed } = config;
  const trainer = new BlockTrainer(
    { device, config: model, weights: config.fullFinetune ? new Map() : weights },
    { trainables, initial, optimizer, checkpointing, seed },
  );
  const sample = { index: 0, ids: Int32Array.of(1, 2, 3), supervised: Uint8Array.of(0, 1, 1) };
  await trainer.step([[sample]], { lr: 1e-4, maxGradNorm: 1 });
  expect(programs.length).toBeGreaterThan(5);
  return trainer;
}

it("every shipped config has its model here", () => {
  expect([...Object.keys(MODELS), ...Object.keys(FAMILY_MODELS)].sort()).toEqual(shippedConfigs());
});

it.each(shippedConfigs())("%s is valid and its graphs can be built and lowered", async (name) => {
  expect((await dryStep(name)).trainableParameters).toBeGreaterThan(0);
});

it("Llama-2-7B with r = 8 on q and v trains 4,194,304 parameters, 0.06% of the model", async () => {
  const { trainableParameters, totalParameters } = await dryStep("llama2/7B_lora");
  expect(trainableParameters).toBe(4_194_304);
  expect(totalParameters).toBe(6_738_415_616 + 4_194_304);
  expect((100 * trainableParameters) / totalParameters).toBeCloseTo(0.06, 2);
});
