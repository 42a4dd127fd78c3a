import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { nodeFiles } from "../../node/files.js";
import { UserError } from "../../tensor/index.js";
import { openModel } from "../../weights/model-folder.js";
import type { OpenFile } from "../files.js";
import { memoryFiles } from "../memory-files.js";
import { openSafetensors } from "../safetensors.js";
import { readGgufConfig } from "./config.js";
import { ggufNotes } from "./notes.js";
import { type GgufValue, readGguf } from "./reader.js";
import { llama3Factors } from "./rope.js";

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
const bytesOf = (name: string) => nodeFiles.read(fixture(name));

/** A file in memory that counts reads past its end. */
async function opened(bytes: Uint8Array): Promise<OpenFile> {
  return memoryFiles({ "x.gguf": bytes }).open("x.gguf");
}

test("a GGUF Llama gives the weights, in Hugging Face names and layout, that were put into it", async () => {
  const model = await openModel(nodeFiles, fixture("llama.gguf"));
  const expected = await openSafetensors(nodeFiles, fixture("llama.safetensors"));
  expect([...model.tensors.tensors.keys()].sort()).toEqual([...expected.tensors.keys()].sort());
  for (const [name, { shape }] of expected.tensors) {
    expect(model.tensors.tensors.get(name)!.shape, name).toEqual(shape);
    expect(await model.tensors.read(name), name).toEqual(await expected.read(name));
  }
  await model.close();
  await expected.close();
});

test("q/k rows come in Hugging Face order from readRaw too, so that blocks can be decoded later", async () => {
  const model = await openModel(nodeFiles, fixture("llama.gguf"));
  const { codecOf } = await import("../../tensor/codecs/quants.js");
  const name = "model.layers.1.self_attn.k_proj.weight";
  const codec = codecOf(model.tensors.tensors.get(name)!.stored)!;
  const raw = await model.tensors.readRaw(name);
  const values = new Float32Array((raw.length / codec.bytes) * codec.block);
  codec.decode(raw, 0, values, 0, raw.length / codec.bytes);
  expect(values).toEqual(await model.tensors.read(name));
  await model.close();
});

test("the configuration comes out of the metadata: grouped heads, biases, head size, Llama 3 rope factors, untied head", async () => {
  const model = await openModel(nodeFiles, fixture("llama.gguf"));
  expect(model.config).toEqual({
    vocabSize: 17,
    hiddenSize: 32,
    intermediateSize: 32,
    numHiddenLayers: 2,
    numAttentionHeads: 4,
    numKeyValueHeads: 2,
    headDim: 16,
    rmsNormEps: 1e-5,
    ropeTheta: 500000,
    ropeScaling: {
      type: "llama3",
      factor: 32,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 8192,
    },
    maxPositionEmbeddings: 131072,
    tieWordEmbeddings: false,
    attentionBias: true,
    mlpBias: false,
  });
  expect(model.generationConfig).toEqual({ eosIds: [1], bosId: 0 });
  expect(model.tokenizer.chatTemplate).toBe("{{ messages[0]['content'] }}");
  await model.close();
});

test("without output.weight the head is tied to the embedding", async () => {
  const bytes = await bytesOf("llama.gguf");
  const at = new TextDecoder("latin1").decode(bytes).lastIndexOf("output.weight");
  bytes.set(new TextEncoder().encode("outpux.weight"), at);
  const model = await openModel(memoryFiles({ "x.gguf": bytes }), "x.gguf");
  expect(model.config.tieWordEmbeddings).toBe(true);
  expect(model.tensors.tensors.has("lm_head.weight")).toBe(false);
  expect(model.ignored).toEqual(["outpux.weight"]);
});

test("a GGUF truncated at any byte of its header is refused with a typed error", async () => {
  const bytes = await bytesOf("sentencepiece.gguf");
  for (let length = 0; length < bytes.length - 32; length += length < 600 ? 1 : 37) {
    await expect(opened(bytes.slice(0, length)).then(readGguf), `${length} bytes`).rejects.toThrow(UserError);
  }
});

test("a GGUF truncated inside its tensors is refused before any is read", async () => {
  const bytes = await bytesOf("llama.gguf");
  for (const cut of [1, 64, 1000, 20000]) {
    await expect(opened(bytes.slice(0, bytes.length - cut)).then(readGguf)).rejects.toThrow(
      /past the end of the file|truncated/,
    );
  }
});

const HOSTILE = [0n, -1n, 2n ** 31n, 2n ** 63n];

/** A GGUF with one tensor and one array, every number of which a test can set. */
function handmade(fields: Record<string, bigint> = {}): Uint8Array {
  const f = (name: string, usual: bigint) => BigInt.asUintN(64, fields[name] ?? usual);
  const parts: number[] = [];
  const u32 = (v: bigint) => parts.push(...new Uint8Array(new Uint32Array([Number(BigInt.asUintN(32, v))]).buffer));
  const u64 = (v: bigint) => parts.push(...new Uint8Array(new BigUint64Array([v]).buffer));
  const text = (s: string, name: string) => {
    u64(f(name, BigInt(s.length)));
    parts.push(...new TextEncoder().encode(s));
  };
  parts.push(...new TextEncoder().encode("GGUF"));
  u32(f("version", 3n));
  u64(f("tensor count", 1n));
  u64(f("key count", 2n));
  text("general.alignment", "key length");
  u32(f("value type", 4n));
  u32(f("alignment", 32n));
  text("list", "second key length");
  u32(9n);
  u32(f("element type", 8n));
  u64(f("array length", 1n));
  text("word", "string length");
  text("t", "name length");
  u32(f("rank", 2n));
  u64(f("first dimension", 4n));
  u64(f("second dimension", 2n));
  u32(f("tensor type", 0n));
  u64(f("offset", 0n));
  while (parts.length % 32 !== 0) parts.push(0);
  parts.push(...new Array(32).fill(1));
  return Uint8Array.from(parts);
}

test("the handmade GGUF is sound before it is damaged", async () => {
  const gguf = await opened(handmade()).then(readGguf);
  expect(gguf.metadata.get("list")).toEqual(["word"]);
  expect(gguf.tensors.get("t")).toMatchObject({ shape: [2, 4], type: "f32", bytes: 32 });
});

/** Every number of the handmade file, and how an error names it. */
const NUMBERS: Readonly<Record<string, string>> = {
  "tensor count": "tensor_count is",
  "key count": "metadata_kv_count is",
  "key length": "a metadata key would be",
  "value type": "metadata general.alignment has the unknown type",
  alignment: "general.alignment must be a power of two",
  "second key length": "a metadata key would be",
  "element type": "metadata list has the unknown type",
  "array length": "the length of list is",
  "string length": "list would be",
  "name length": "a tensor name would be",
  rank: 'tensor "t" has',
  "first dimension": 'tensor "t"',
  "second dimension": 'tensor "t"',
  "tensor type": 'tensor "t" has the unknown type',
  offset: 'tensor "t"',
  version: "its version is",
};

test.each(Object.entries(NUMBERS))(
  "GGUF with a hostile %s: an error that names it within a second, nothing read past the end",
  async (name, named) => {
    for (const value of HOSTILE) {
      const file = await opened(handmade({ [name]: value }));
      const ends: number[] = [];
      const watched: OpenFile = {
        ...file,
        read: (offset, into) => {
          ends.push(offset + into.length);
          return file.read(offset, into);
        },
      };
      const start = performance.now();
      const result = await readGguf(watched).catch((error: unknown) => error);
      expect(performance.now() - start).toBeLessThan(1000);
      expect(Math.max(...ends)).toBeLessThanOrEqual(file.size);
      // 2^63 in a field of 32 bits is 0 again; type 0 is f32.
      const harmless =
        (value === 0n && ["offset", "tensor count"].includes(name)) ||
        (name === "tensor type" && BigInt.asUintN(32, value) === 0n);
      if (!harmless) expect(result, `${name} = ${value}`).toBeInstanceOf(UserError);
      if (BigInt.asUintN(32, value) !== 0n) expect((result as Error).message).toContain(named);
    }
  },
);

test("overlapping tensors, unknown types and repeated names are refused by name", async () => {
  await expect(opened(handmade({ "tensor type": 77n })).then(readGguf)).rejects.toThrow(/"t" has the unknown type 77/);
  await expect(opened(handmade({ version: 1n })).then(readGguf)).rejects.toThrow(/version is 1/);
  await expect(opened(handmade({ version: 0x03000000n })).then(readGguf)).rejects.toThrow(/big-endian/);
  await expect(opened(handmade({ "first dimension": 5n })).then(readGguf)).rejects.toThrow(/past the end/);
});

describe("what the metadata says", () => {
  const METADATA: readonly (readonly [string, GgufValue])[] = [
    ["general.architecture", "llama"],
    ["llama.block_count", 2],
    ["llama.context_length", 64],
    ["llama.embedding_length", 32],
    ["llama.feed_forward_length", 48],
    ["llama.attention.head_count", 4],
    ["llama.attention.layer_norm_rms_epsilon", 1e-5],
    ["llama.vocab_size", 17],
  ];
  const read = (more: readonly (readonly [string, GgufValue | undefined])[], freqs?: Float32Array) => {
    const metadata = new Map<string, GgufValue>(METADATA);
    for (const [key, value] of more) {
      if (value === undefined) metadata.delete(key);
      else metadata.set(key, value);
    }
    const tensors = new Map(freqs ? [["rope_freqs.weight", freqs]] : []);
    return readGgufConfig({ metadata, tensors: new Map() }, "g", tensors).config;
  };
  const rope = (more: Readonly<Record<string, GgufValue | undefined>>, freqs?: Float32Array) =>
    read(
      Object.entries(more).map(([key, value]) => [`llama.rope.${key}`, value]),
      freqs,
    ).ropeScaling;
  const linear = (factor: number) => ({ type: "linear", factor });

  test("rope is stretched as llama.cpp does: the old key, no type, 0 for none, none is none", () => {
    expect(rope({ "scaling.type": "linear", "scaling.factor": 2 })).toEqual(linear(2));
    expect(rope({ "scaling.factor": 2 })).toEqual(linear(2));
    expect(rope({ scale_linear: 2 })).toEqual(linear(2));
    expect(rope({ scale_linear: 2, "scaling.factor": 3 })).toEqual(linear(3));
    expect(rope({ scale_linear: 2, "scaling.type": "linear" })).toEqual(linear(2));
    for (const nothing of [
      { scale_linear: 0 },
      { "scaling.factor": 1 },
      { "scaling.type": "none", "scaling.factor": 4 },
    ])
      expect(rope(nothing)).toBeUndefined();
    for (const bad of [{ "scaling.type": "yarn" }, { "scaling.type": "longrope" }, { scale_linear: -2 }])
      expect(() => rope(bad)).toThrow(UserError);
    expect(() => rope({ "scaling.factor": "2" })).toThrow("llama.rope.scaling.factor must be a number, got string");
    const llama3 = {
      type: "llama3",
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 8192,
    } as const;
    const freqs = Float32Array.from(llama3Factors(llama3, 8, 500000));
    expect(rope({ freq_base: 500000, "scaling.original_context_length": 8192 }, freqs)).toEqual(llama3);
    expect(() => rope({ freq_base: 500000, "scaling.factor": 2 }, freqs)).toThrow(
      "llama.rope.scaling.factor = 2 beside the factors",
    );
  });

  test("a value that each layer has is read where all have the same", () => {
    expect(read([["llama.attention.head_count", [4, 4]]]).numAttentionHeads).toBe(4);
    expect(() => read([["llama.attention.head_count_kv", [4, 2]]])).toThrow(
      "head_count_kv differs from layer to layer",
    );
  });

  test.each<[string, GgufValue | undefined, RegExp]>([
    ["attention.layer_norm_rms_epsilon", undefined, /layer_norm_rms_epsilon must be a number, got nothing/],
    ["expert_count", 8, /a mixture of experts is not supported/],
    ["attention.sliding_window", 4096, /llama\.attention\.sliding_window = 4096 is not supported/],
    ["attention.scale", 0.5, /llama\.attention\.scale = 0.5/],
    ["final_logit_softcapping", 30, /softcapping = 30/],
    ["logit_scale", 0.25, /logit_scale = 0.25/],
    ["rope.scaling.attn_factor", 1.2, /attn_factor = 1.2/],
    ["rope.dimension_count", 4, /rope\.dimension_count = 4 is not supported, only 8/],
    ["attention.causal", false, /attention\.causal = false/],
  ])("llama.%s = %j is refused", (key, value, message) => {
    expect(() => read([[`llama.${key}`, value]])).toThrow(UserError);
    expect(() => read([[`llama.${key}`, value]])).toThrow(message);
  });

  describe("other architectures", () => {
    const of = (
      architecture: string,
      more: Readonly<Record<string, GgufValue>>,
      tensors: Readonly<Record<string, readonly number[]>> = {},
    ) => {
      const renamed = METADATA.map(([key, value]) => [key.replace(/^llama\./, `${architecture}.`), value] as const);
      const own = Object.entries(more).map(([key, value]) => [`${architecture}.${key}`, value] as const);
      const metadata = new Map<string, GgufValue>([...renamed, ...own, ["general.architecture", architecture]]);
      const rope = new Map(Object.entries(tensors).map(([name, values]) => [name, Float32Array.from(values)]));
      return readGgufConfig({ metadata, tensors: new Map() }, "g", rope).config;
    };
    const trained = { lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositionEmbeddings: 8192 };
    const freqs = llama3Factors({ type: "llama3", factor: 8, ...trained }, 8, 10000);
    const [short, long] = [
      [1, 1.5, 2, 3],
      [2, 3, 4, 6],
    ];
    const both = { "rope_factors_short.weight": short, "rope_factors_long.weight": long };

    test("what is missing is as llama.cpp has it", () => {
      expect(of("gemma2", {})).toMatchObject({
        attentionSoftcap: 50,
        finalSoftcap: 30,
        tieWordEmbeddings: true,
        attentionScale: 8 ** -0.5,
        layers: [{ rope: "global", window: 4096 }, { rope: "global" }],
      });
      expect(of("gemma3", {}).layers).toEqual([{ rope: "global" }, { rope: "global" }]);
      expect(of("gemma3", { "attention.sliding_window": 8 })).toMatchObject({
        localRope: { theta: 10000 },
        layers: [
          { rope: "local", window: 8 },
          { rope: "local", window: 8 },
        ],
      });
      expect(of("smollm3", { block_count: 4 }).layers?.map(({ rope }) => rope)).toEqual([
        ...["global", "global", "global"],
        "none",
      ]);
      expect(of("granite", { logit_scale: 8 })).toMatchObject({ logitScale: 1 / 8, attentionScale: 8 ** -0.5 });
      expect(of("phi3", { "attention.sliding_window": 0 }).layers).toBeUndefined();
    });

    test("the largest Gemmas have another factor on scores than their head size says", () => {
      const wide = { "attention.key_length": 16 };
      expect(of("gemma2", { ...wide, block_count: 46 }).attentionScale).toBe(8 ** -0.5);
      expect(of("gemma3", { ...wide, block_count: 62 }).attentionScale).toBe(8 ** -0.5);
      expect(of("gemma3", { ...wide, block_count: 26 }).attentionScale).toBe(16 ** -0.5);
    });

    test("long rope counts by its tensors, with or without a type", () => {
      const scaling = {
        type: "longrope",
        shortFactors: short,
        longFactors: long,
        originalMaxPositionEmbeddings: 16,
        attentionFactor: 1.25,
      };
      const keys = { "rope.scaling.original_context_length": 16, "rope.scaling.attn_factor": 1.25 };
      expect(of("phi3", keys, both).ropeScaling).toEqual(scaling);
      expect(of("phi3", { ...keys, "rope.scaling.type": "longrope" }, both).ropeScaling).toEqual(scaling);
      const usual = Math.sqrt(1 + Math.log(4) / Math.log(16));
      const stored = of("phi3", { ...keys, "rope.scaling.attn_factor": Math.fround(usual) }, both);
      expect(stored.ropeScaling).toMatchObject({ attentionFactor: usual });
    });

    test.each<[string, Readonly<Record<string, GgufValue>>, RegExp, Readonly<Record<string, readonly number[]>>?]>([
      ["qwen2", { "attention.sliding_window": 8 }, /qwen2\.attention\.sliding_window = 8 is not supported/],
      ["qwen2", { "attention.key_length": 16 }, /qwen2\.attention\.key_length = 16 is not supported, only 8/],
      ["qwen3", { "rope.dimension_count": 4 }, /rope\.dimension_count = 4 is not supported, only 8/],
      ["qwen3", {}, /rope_freqs\.weight\) are not supported/, { "rope_freqs.weight": freqs }],
      ["qwen3", { final_logit_softcapping: 30 }, /final_logit_softcapping = 30 is not supported/],
      ["gemma2", { "rope.freq_base_swa": 5 }, /rope\.freq_base_swa = 5 is not supported/],
      ["gemma2", { "attention.sliding_window_pattern": [true] }, /must be a period or a list of 2 flags/],
      ["gemma3", { attn_logit_softcapping: 50 }, /attn_logit_softcapping = 50 is not supported/],
      ["granite", {}, /granite\.logit_scale must be a number, got nothing/],
      ["granite", { logit_scale: 8, "rope.scaling.finetuned": false }, /without rotary positions is not supported/],
      ["phi3", { "rope.scaling.type": "longrope" }, /needs the tensors rope_factors_long\.weight/],
      ["phi3", {}, /must both be lists of 4 factors/, { "rope_factors_long.weight": long }],
      ["olmo2", { "attention.sliding_window": 8 }, /sliding_window = 8 is not supported/],
    ])("%s with %j is refused", (architecture, more, message, tensors) => {
      expect(() => of(architecture, more, tensors)).toThrow(UserError);
      expect(() => of(architecture, more, tensors)).toThrow(message);
    });
  });

  test("what nothing uses is named once", () => {
    const metadata = new Map<string, GgufValue>([...METADATA, ["general.author", "x"], ["quantize.imatrix.file", "x"]]);
    const { used } = readGgufConfig({ metadata, tensors: new Map() }, "g");
    expect(ggufNotes(metadata, used, "g")).toEqual([]);
    metadata.set("llama.new_thing", 3).set("tokenizer.ggml.odd", true).set("llama.off", 0).set("x.y", "z");
    expect(ggufNotes(metadata, used, "g")).toEqual(["g: not used: llama.new_thing, tokenizer.ggml.odd, x.y"]);
    metadata.clear();
    metadata.set("tokenizer.chat_template.tool_use", "T").set("tokenizer.chat_templates", ["tool_use"]);
    expect(ggufNotes(metadata, used, "g")).toEqual([]);
    metadata.set("tokenizer.ggml.tokens", ["a"]).set("tokenizer.ggml.padding_token_id", 2 ** 32 - 1);
    expect(ggufNotes(metadata, used, "g")).toEqual([
      "g: tokenizer.ggml.padding_token_id 4294967295 is no token: not used",
    ]);
    metadata.clear();
    metadata.set("tokenizer.ggml.model", "gpt2");
    expect(ggufNotes(metadata, used, "g")).toEqual(["g: it has no tokenizer.ggml.pre: text is split as GPT-2 does"]);
  });
});

test("another architecture is refused by name", async () => {
  const bytes = await bytesOf("llama.gguf");
  const text = new TextDecoder("latin1").decode(bytes);
  const at = text.indexOf("llama", text.indexOf("general.architecture"));
  bytes.set(new TextEncoder().encode("mamba"), at);
  const files = memoryFiles({ "q.gguf": bytes });
  await expect(openModel(files, "q.gguf")).rejects.toThrow(
    /its architecture is "mamba", which is not supported \(supported: llama, qwen2, qwen3, gemma3, smollm3, granite, phi3, gemma2, olmo2\)/,
  );
});
