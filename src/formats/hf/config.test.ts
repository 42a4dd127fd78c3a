import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { CASES } from "../../../test/numerics/vectors.js";
import { nodeFiles } from "../../node/files.js";
import { UserError } from "../../tensor/index.js";
import { type JsonObject, parseObject } from "../json.js";
import { configFromHf, configToHf, readHfConfig } from "./config.js";
import { trainingNotes } from "./notes.js";

const vectors = (path: string) => fileURLToPath(new URL(`../../../test/reference/vectors/${path}`, import.meta.url));
const read = async (path: string) => parseObject(path, await nodeFiles.read(vectors(path)));

const notesOf = (json: JsonObject) => readHfConfig(json, "c").notes;

/** TinyLlama's config.json, less what is never read. */
const TINY_LLAMA: JsonObject = {
  architectures: ["LlamaForCausalLM"],
  bos_token_id: 1,
  eos_token_id: 2,
  hidden_act: "silu",
  hidden_size: 2048,
  intermediate_size: 5632,
  max_position_embeddings: 2048,
  model_type: "llama",
  num_attention_heads: 32,
  num_hidden_layers: 22,
  num_key_value_heads: 4,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
  vocab_size: 32000,
};

test("a plain Llama: missing keys have transformers' defaults", () => {
  expect(configFromHf(TINY_LLAMA, "c")).toEqual({
    vocabSize: 32000,
    hiddenSize: 2048,
    intermediateSize: 5632,
    numHiddenLayers: 22,
    numAttentionHeads: 32,
    numKeyValueHeads: 4,
    headDim: 64,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    maxPositionEmbeddings: 2048,
    tieWordEmbeddings: false,
    attentionBias: false,
    mlpBias: false,
  });
  const { num_key_value_heads: _, ...multiHead } = TINY_LLAMA;
  expect(configFromHf(multiHead, "c").numKeyValueHeads).toBe(32);
  expect(configFromHf({ ...TINY_LLAMA, head_dim: 128 }, "c").headDim).toBe(128);
});

test.each(CASES)(
  "%s: rope_parameters (transformers 5) and rope_theta + rope_scaling (4) say the same (trap: only one of them read)",
  async (name) => {
    const v5 = await read(`${name}/model/config.json`);
    const v4 = await read(`${name}/config-v4.json`);
    expect("rope_parameters" in v5).toBe(true);
    expect("rope_parameters" in v4).toBe(false);
    expect(configFromHf(v5, "c")).toEqual(configFromHf(v4, "c"));
    if (name === "llama3") expect(configFromHf(v4, "c").ropeScaling?.type).toBe("llama3");
  },
);

test.each(CASES)("%s: written and read again, a configuration is the same", async (name) => {
  const config = configFromHf(await read(`${name}/model/config.json`), "c");
  expect(configFromHf(configToHf(config, "float16"), "c")).toEqual(config);
});

test("Mistral without a sliding window computes what a Llama does; with one, or with none said, every layer has it", () => {
  const mistral = { ...TINY_LLAMA, architectures: ["MistralForCausalLM"], model_type: "mistral" };
  const llama = { ...configFromHf(TINY_LLAMA, "c"), family: "mistral" };
  expect(configFromHf({ ...mistral, sliding_window: null }, "c")).toEqual(llama);
  const windows = (json: JsonObject) => configFromHf(json, "c").layers!.map(({ window }) => window);
  expect(windows({ ...mistral, sliding_window: 7 })).toEqual(new Array(22).fill(7));
  expect(windows(mistral)).toEqual(new Array(22).fill(4096));
});

describe("what would compute something else is refused by name", () => {
  test.each<[JsonObject, RegExp]>([
    [
      { architectures: ["MambaForCausalLM"], model_type: "mamba" },
      /this is MambaForCausalLM \(model_type "mamba"\), which is not supported \(supported: LlamaForCausalLM, .*Qwen3ForCausalLM/,
    ],
    [{ architectures: ["Qwen2ForCausalLM"] }, /this is Qwen2ForCausalLM \(model_type "llama"\)/],
    [{ architectures: ["LlamaForSequenceClassification"] }, /LlamaForSequenceClassification/],
    [{ architectures: undefined, model_type: undefined }, /"unknown"/],
    [{ rope_scaling: { type: "yarn", factor: 4 } }, /rope type "yarn" is not supported/],
    [{ rope_scaling: { type: "dynamic", factor: 4 } }, /rope type "dynamic"/],
    [{ rope_parameters: { full_attention: { rope_theta: 1 } } }, /per kind of layer/],
    [
      { rope_parameters: { rope_type: "default", rope_theta: 1e4, partial_rotary_factor: 0.5 } },
      /partial_rotary_factor/,
    ],
    [{ sliding_window: 4096 }, /sliding_window = 4096/],
    [{ quantization_config: { quant_method: "gptq" } }, /quantization_config.*use the unquantised checkpoint/],
    [{ hidden_act: "gelu" }, /hidden_act = "gelu"/],
    [{ architectures: [{}] }, /architectures must be a list of names, got \[\{\}\]/],
    [{ architectures: [{ toString: 1 }] }, /architectures must be a list of names/],
    [{ architectures: "LlamaForCausalLM" }, /architectures must be a list of names, got "LlamaForCausalLM"/],
    [{ rope_scaling: { rope_type: null } }, /rope type null is not supported/],
    [
      { rope_scaling: { rope_type: "longrope", short_factor: [1] } },
      /short_factor must be a list of 32 numbers above 0/,
    ],
    [{ rope_scaling: { type: "linear", factor: 0 } }, /factor must be a number above 0, got 0/],
    [{ rope_scaling: { type: "linear", factor: -2 } }, /factor must be a number above 0, got -2/],
    [{ rope_scaling: { type: "linear" } }, /factor must be a number above 0, got nothing/],
    [{ rope_scaling: "linear" }, /rope_scaling must be an object, got "linear"/],
    [{ rope_theta: { __float__: "Infinity" } }, /rope_theta must be a number above 0, got .*Infinity/],
    [{ is_encoder_decoder: true }, /is_encoder_decoder = true is not supported/],
    [{ num_key_value_heads: 5 }, /32 attention heads cannot share 5/],
    [{ num_attention_heads: 3 }, /head_dim must be a whole number/],
    [{ head_dim: 63 }, /head_dim must be an even/],
    [{ hidden_size: undefined }, /hidden_size must be a whole number above 0, got nothing/],
    [{ vocab_size: -1 }, /vocab_size/],
    [{ vocab_size: 2 ** 40 }, /vocab_size/],
    [{ num_hidden_layers: 1e8 }, /layers are not plausible/],
    [{ rms_norm_eps: "1e-5" }, /rms_norm_eps must be a number above 0, got "1e-5"/],
    [{ tie_word_embeddings: "no" }, /tie_word_embeddings must be true or false/],
    [{ rope_scaling: { rope_type: "llama3", factor: 8 } }, /low_freq_factor must be a number above 0, got nothing/],
  ])("%j", (change, message) => {
    const read = () => configFromHf({ ...TINY_LLAMA, ...change }, "c");
    expect(read).toThrow(UserError);
    expect(read).toThrow(message);
  });
});

test.each<[JsonObject, object]>([
  [{ architectures: ["LLaMAForCausalLM"] }, {}],
  [{ architectures: null }, {}],
  [{ architectures: undefined }, {}],
  [{ attention_dropout: 0.1 }, {}],
  [{ time_limit: { __float__: "Infinity" } }, {}],
  [{ rope_scaling: {}, rope_parameters: { rope_type: "default", rope_theta: 7 } }, { ropeTheta: 7 }],
  [
    { rope_scaling: { type: "linear", factor: 2 }, rope_parameters: { rope_type: "linear", factor: 3 } },
    { ropeScaling: { type: "linear", factor: 2 } },
  ],
  [{ rope_theta: 5, rope_scaling: { rope_theta: 6, type: "default", factor: 9 } }, { ropeTheta: 6 }],
  [
    { rope_scaling: { rope_type: "llama3", type: "yarn", factor: 8, low_freq_factor: 1, high_freq_factor: 4 } },
    { ropeScaling: expect.objectContaining({ type: "llama3", originalMaxPositionEmbeddings: 2048 }) },
  ],
])("%j is read as transformers reads it", (change, expected) => {
  const plain = configFromHf(TINY_LLAMA, "c");
  expect(configFromHf({ ...TINY_LLAMA, ...change }, "c")).toEqual({ ...plain, ...expected });
});

test("Mistral's own defaults; its layers have no biases whatever the file says", () => {
  const { num_key_value_heads: _, max_position_embeddings: __, ...rest } = TINY_LLAMA;
  const mistral = { ...rest, architectures: ["MistralForCausalLM"], model_type: "mistral", sliding_window: null };
  const config = configFromHf({ ...mistral, attention_bias: true }, "c");
  expect(config).toMatchObject({ numKeyValueHeads: 8, maxPositionEmbeddings: 131072, attentionBias: false });
  expect(configFromHf({ ...mistral, num_key_value_heads: null }, "c").numKeyValueHeads).toBe(32);
  expect(notesOf({ ...mistral, attention_bias: true })).toEqual([
    "c: attention_bias: not used by a model of this kind",
  ]);
});

test("what nothing uses is named once; what is known to change nothing is not", () => {
  expect(notesOf(TINY_LLAMA)).toEqual([]);
  const more = { layer_types: ["sliding_attention"], logit_scale: 2, off: null, none: [], num_experts: 0 };
  expect(notesOf({ ...TINY_LLAMA, ...more })).toEqual([
    "c: layer_types, logit_scale: not used by a model of this kind",
  ]);
  const idle = (rope_scaling: JsonObject) => notesOf({ ...TINY_LLAMA, rope_scaling });
  expect(idle({ type: "linear", factor: 2, beta_fast: 32 })).toEqual(['c: rope type "linear" does not use beta_fast']);
  expect(idle({ factor: 2 })).toEqual(['c: rope type "default" does not use factor']);
  expect(trainingNotes({ ...TINY_LLAMA, attention_dropout: 0.1 }, "c").join()).toMatch(/attention_dropout 0.1 is not/);
  expect(trainingNotes({ ...TINY_LLAMA, attention_dropout: 0 }, "c")).toEqual([]);
  expect(trainingNotes(undefined, "c")).toEqual([]);
});
