import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { nodeFiles } from "../node/files.js";
import { UserError } from "../tensor/index.js";
import { llamaConfigFromHf, llamaConfigToHf } from "./hf-config.js";
import { type JsonObject, parseObject } from "./json.js";

const vectors = (path: string) => fileURLToPath(new URL(`../../test/reference/vectors/${path}`, import.meta.url));
const read = async (path: string) => parseObject(path, await nodeFiles.read(vectors(path)));

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
  expect(llamaConfigFromHf(TINY_LLAMA, "c")).toEqual({
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
  expect(llamaConfigFromHf(multiHead, "c").numKeyValueHeads).toBe(32);
  expect(llamaConfigFromHf({ ...TINY_LLAMA, head_dim: 128 }, "c").headDim).toBe(128);
});

test.each(["bias", "llama2", "llama3"])(
  "%s: rope_parameters (transformers 5) and rope_theta + rope_scaling (4) say the same (trap: only one of them read)",
  async (name) => {
    const v5 = await read(`${name}/model/config.json`);
    const v4 = await read(`${name}/config-v4.json`);
    expect("rope_parameters" in v5).toBe(true);
    expect("rope_parameters" in v4).toBe(false);
    expect(llamaConfigFromHf(v5, "c")).toEqual(llamaConfigFromHf(v4, "c"));
    if (name === "llama3") expect(llamaConfigFromHf(v4, "c").ropeScaling?.type).toBe("llama3");
  },
);

test.each(["bias", "llama2", "llama3"])("%s: written and read again, a configuration is the same", async (name) => {
  const config = llamaConfigFromHf(await read(`${name}/model/config.json`), "c");
  expect(llamaConfigFromHf(llamaConfigToHf(config, "float16"), "c")).toEqual(config);
});

test("Mistral without a sliding window computes the same and is read; with one it is refused", () => {
  const mistral = { ...TINY_LLAMA, architectures: ["MistralForCausalLM"], model_type: "mistral" };
  expect(llamaConfigFromHf({ ...mistral, sliding_window: null }, "c")).toEqual(llamaConfigFromHf(TINY_LLAMA, "c"));
  expect(() => llamaConfigFromHf({ ...mistral, sliding_window: 4096 }, "c")).toThrow(
    /MistralForCausalLM with a sliding window/,
  );
  expect(() => llamaConfigFromHf(mistral, "c")).toThrow(UserError);
});

describe("what would compute something else is refused by name", () => {
  test.each<[JsonObject, RegExp]>([
    [
      { architectures: ["Qwen2ForCausalLM"], model_type: "qwen2" },
      /this is Qwen2ForCausalLM \(model_type "qwen2"\); only LlamaForCausalLM/,
    ],
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
    [{ attention_dropout: 0.1 }, /attention_dropout/],
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
    const read = () => llamaConfigFromHf({ ...TINY_LLAMA, ...change }, "c");
    expect(read).toThrow(UserError);
    expect(read).toThrow(message);
  });
});
