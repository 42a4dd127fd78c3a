import { createHash } from "node:crypto";
import { mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { AdapterBase } from "../formats/base-hash.js";
import type { Files } from "../formats/files.js";
import { configToHf } from "../formats/hf/config.js";
import { type JsonObject, jsonBytes } from "../formats/json.js";
import { memoryFiles } from "../formats/memory-files.js";
import type { Adapter } from "../formats/peft/adapter.js";
import { type TensorToWrite, writeSafetensors, writeWeights } from "../formats/safetensors-writer.js";
import { writeTokenizer } from "../formats/tokenizer-files.js";
import type { ModelConfig } from "../models/config.js";
import { weightShapes } from "../models/config.js";
import { nodeFiles } from "../node/files.js";
import { bytesOf, type Shape, sizeOf, UserError } from "../tensor/index.js";
import { sameTemplates } from "../tokenizers/files.js";
import { compareBase } from "./adapter-base.js";
import { openModel, readTokenizer } from "./model-folder.js";

const CONFIG: ModelConfig = {
  vocabSize: 11,
  hiddenSize: 8,
  intermediateSize: 12,
  numHiddenLayers: 2,
  numAttentionHeads: 2,
  numKeyValueHeads: 1,
  headDim: 4,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  maxPositionEmbeddings: 64,
  tieWordEmbeddings: true,
  attentionBias: false,
  mlpBias: false,
};

function tensor(name: string, shape: Shape): TensorToWrite {
  const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => i + name.length / 64);
  return { name, dtype: "f32", shape, chunks: () => [new Uint8Array(values.buffer)] };
}

const weights = () => [...weightShapes(CONFIG)].map(([name, shape]) => tensor(name, shape));

interface Made {
  config?: JsonObject;
  tokenizerConfig?: JsonObject;
  more?: Record<string, Uint8Array | string>;
  tensors?: TensorToWrite[];
  shardBytes?: number;
}

/** A small Llama in memory, in the folder `m`. */
async function made({ config, tokenizerConfig, more, tensors = weights(), shardBytes }: Made = {}): Promise<Files> {
  const extra = Object.fromEntries(Object.entries(more ?? {}).map(([name, content]) => [`m/${name}`, content]));
  const files = memoryFiles({
    "m/config.json": jsonBytes({ ...configToHf(CONFIG, "float32"), ...config }),
    "m/tokenizer.json": jsonBytes({ model: { vocab: { __proto__: 0 } } }),
    ...(tokenizerConfig ? { "m/tokenizer_config.json": jsonBytes(tokenizerConfig) } : {}),
    ...extra,
  });
  await writeWeights(files, "m", tensors, shardBytes);
  return files;
}

test("a folder opens: configuration, weights, tokenizer, what ends a text", async () => {
  const files = await made({
    config: { eos_token_id: 5 },
    more: { "generation_config.json": JSON.stringify({ eos_token_id: [2, 7], bos_token_id: 1 }) },
  });
  const model = await openModel(files, "m");
  expect(model.config).toEqual(CONFIG);
  expect(model.kind).toBe("hf");
  expect(model.generationConfig).toEqual({ eosIds: [2, 7], bosId: 1 });
  expect((await model.tensors.read("model.norm.weight"))[1]).toBe(1 + "model.norm.weight".length / 64);
  expect(model.ignored).toEqual([]);
  expect([...model.tokenizer.originals!.keys()]).toEqual(["tokenizer.json"]);
  const plain = await openModel(await made({ config: { eos_token_id: 5 } }), "m");
  expect(plain.generationConfig).toEqual({ eosIds: [5] });
});

test("shards open through the index, and give the same weights", async () => {
  const one = await openModel(await made(), "m");
  const files = await made({ shardBytes: 1000 });
  expect((await files.list("m")).filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(2);
  const many = await openModel(files, "m");
  for (const name of one.tensors.tensors.keys()) {
    expect(await many.tensors.read(name)).toEqual(await one.tensors.read(name));
  }
  await expect(many.tensors.read("nothing")).rejects.toThrow(UserError);
});

test("the hash tells models apart, and is the same for the same bytes", async () => {
  const hash = async (make: Made) => (await openModel(await made(make), "m")).hash();
  const [a, b, c, d] = [
    await hash({}),
    await hash({}),
    await hash({ config: { rope_theta: 5e5 } }),
    await hash({
      tensors: [...weights().slice(1), { ...tensor("x", [88]), name: "model.embed_tokens.weight", shape: [11, 8] }],
    }),
  ];
  expect(a).toMatch(/^[0-9a-f]{64}$/);
  expect(b).toBe(a);
  expect(new Set([a, c, d]).size).toBe(3);
});

describe("the chat template", () => {
  test.each<[string, Made, string | undefined]>([
    ["none", {}, undefined],
    ["inline", { tokenizerConfig: { chat_template: "T" } }, "T"],
    [
      "several, one named default",
      {
        tokenizerConfig: {
          chat_template: [
            { name: "rag", template: "R" },
            { name: "default", template: "D" },
          ],
        },
      },
      "D",
    ],
    [
      "in chat_template.jinja, which wins",
      { tokenizerConfig: { chat_template: "T" }, more: { "chat_template.jinja": "J" } },
      "J",
    ],
  ])("%s", async (_, make, expected) => {
    expect((await openModel(await made(make), "m")).tokenizer.chatTemplate).toBe(expected);
  });

  test("named ones come from their folder, and are written where they came from", async () => {
    const more = { "chat_template.jinja": "D", "additional_chat_templates/tool_use.jinja": "T" };
    const files = await made({ tokenizerConfig: { chat_template: "old" }, more });
    const { tokenizer } = await openModel(files, "m");
    expect(tokenizer.chatTemplate).toBe("D");
    expect([...tokenizer.namedTemplates!]).toEqual([["tool_use", "T"]]);
    await writeTokenizer(files, "copy", tokenizer);
    const copied = await readTokenizer(files, "copy", await files.list("copy"));
    expect(sameTemplates(copied, tokenizer)).toBe(true);
    await writeTokenizer(files, "anew", { ...tokenizer, originals: undefined });
    const anew = await readTokenizer(files, "anew", await files.list("anew"));
    expect(sameTemplates(anew, tokenizer)).toBe(true);
  });

  test("an old processor's chat_template.json is read where there is nothing else", async () => {
    const more = { "chat_template.json": JSON.stringify({ chat_template: "P" }) };
    expect((await openModel(await made({ more }), "m")).tokenizer.chatTemplate).toBe("P");
    const both = await made({ more, tokenizerConfig: { chat_template: "T" } });
    expect((await openModel(both, "m")).tokenizer.chatTemplate).toBe("T");
  });
});

describe("a folder that does not hold this model is refused, naming what is wrong", () => {
  test.each<[string, Made, RegExp]>([
    [
      "a missing weight",
      { tensors: weights().filter((t) => t.name !== "model.layers.1.mlp.up_proj.weight") },
      /m: the weight model\.layers\.1\.mlp\.up_proj\.weight \[12,8\] is missing/,
    ],
    [
      "a weight under another name",
      { tensors: weights().map((t) => ({ ...t, name: t.name.replace("model.norm", "model.norn") })) },
      /model\.norm\.weight \[8\] is missing \(it has model\.norn\.weight\)/,
    ],
    [
      "a weight in another shape",
      { config: { intermediate_size: 16 } },
      /gate_proj\.weight should be \[16,8\] by its configuration, but is \[12,8\]/,
    ],
    [
      "another architecture",
      { config: { architectures: ["GemmaForCausalLM"], model_type: "gemma" } },
      /GemmaForCausalLM/,
    ],
    ["biases that the configuration calls for", { config: { attention_bias: true } }, /q_proj\.bias \[8\] is missing/],
  ])("%s", async (_, make, message) => {
    const error = await openModel(await made(make), "m").catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(message);
  });

  test("unknown tensors are said; old rotary buffers and a tied head's copy are nothing to say", async () => {
    const extra = [
      tensor("model.layers.0.self_attn.rotary_emb.inv_freq", [2]),
      tensor("lm_head.weight", [11, 8]),
      tensor("model.extra", [1]),
    ];
    const { ignored, notes } = await openModel(await made({ tensors: [...weights(), ...extra] }), "m");
    expect(ignored).toEqual(["model.extra"]);
    expect(notes).toContain("m: no weight of this LlamaForCausalLM, so not read: model.extra");
  });

  test("no tokenizer.json, no weights, an adapter, several GGUFs, nothing", async () => {
    const files = await made();
    await files.remove("m/tokenizer.json");
    await expect(openModel(files, "m")).rejects.toThrow(/tokenizer\.json is missing; make it with python/);
    const empty = await made();
    await empty.remove("m/model.safetensors");
    await expect(openModel(empty, "m")).rejects.toThrow(/neither model\.safetensors nor/);
    await expect(openModel(memoryFiles({ "a/adapter_config.json": "{}" }), "a")).rejects.toThrow(/this is an adapter/);
    await expect(openModel(memoryFiles({ "a/1.gguf": "", "a/2.gguf": "" }), "a")).rejects.toThrow(/1\.gguf, 2\.gguf/);
    await expect(openModel(memoryFiles(), "nowhere")).rejects.toThrow(/nowhere: no such file or folder/);
    await expect(openModel(memoryFiles({ "a/README.md": "" }), "a")).rejects.toThrow(
      /neither config\.json nor a \.gguf/,
    );
  });
});

describe("a head beside tie_word_embeddings: true, as transformers 5 reads it", () => {
  const head = (values: (i: number) => number, dtype: "f32" | "bf16" = "f32"): TensorToWrite => {
    const bits = Uint32Array.from(new Uint32Array(Float32Array.from({ length: 88 }, (_, i) => values(i)).buffer));
    const bytes =
      dtype === "f32" ? new Uint8Array(bits.buffer) : new Uint8Array(Uint16Array.from(bits, (b) => b >>> 16).buffer);
    return { name: "lm_head.weight", dtype, shape: [11, 8], chunks: () => [bytes] };
  };
  const embedding = (i: number) => i + "model.embed_tokens.weight".length / 64;
  const open = async (tensors: TensorToWrite[]) => openModel(await made({ tensors }), "m");

  test("with the embedding's values it is tied, in another dtype too", async () => {
    const same = await open([...weights(), head(embedding)]);
    expect(same.config).toEqual(CONFIG);
    expect(same.notes).toEqual([]);
    const whole = weights().map((t) =>
      t.name === "model.embed_tokens.weight" ? { ...head((i) => i), name: t.name } : t,
    );
    expect((await open([...whole, head((i) => i, "bf16")])).config.tieWordEmbeddings).toBe(true);
  });

  test("alone, without the embedding, it is both", async () => {
    const named = (t: TensorToWrite) => (t.name === "model.embed_tokens.weight" ? { ...t, name: "lm_head.weight" } : t);
    const whole = await open(weights());
    const alone = await open(weights().map(named));
    expect([alone.config, alone.notes]).toEqual([CONFIG, []]);
    const name = "model.embed_tokens.weight";
    expect(await alone.tensors.read(name)).toEqual(await whole.tensors.read(name));
    expect(await alone.tensors.readRaw(name)).toEqual(await whole.tensors.readRaw(name));
    expect(alone.tensors.place(name)).toEqual(alone.tensors.place("lm_head.weight"));
  });

  test("with other values, if only one of the last, it is used and named", async () => {
    for (const values of [(i: number) => i, (i: number) => (i === 87 ? 0 : embedding(i))]) {
      const own = await open([...weights(), head(values)]);
      expect(own.config).toEqual({ ...CONFIG, tieWordEmbeddings: false });
      expect((await own.tensors.read("lm_head.weight"))[87]).toBe(values(87));
      expect(own.notes.join()).toMatch(
        /m\/config\.json: tie_word_embeddings is true, but lm_head\.weight holds other values/,
      );
    }
    const files = await made({ tensors: [...weights(), head((i) => i)], shardBytes: 400 });
    expect((await openModel(files, "m")).config.tieWordEmbeddings).toBe(false);
  });
});

test("a shard that is missing, an index that says nothing, and one beside a whole file are named", async () => {
  const files = await made({ shardBytes: 1000 });
  const second = (await files.list("m")).find((name) => name.startsWith("model-00002-of-"))!;
  await files.remove(`m/${second}`);
  await expect(openModel(files, "m")).rejects.toThrow(
    /m\/model-00002-of-\d+\.safetensors: this shard is missing, though/,
  );
  for (const map of [null, [], "x", undefined, { "model.norm.weight": 1 }]) {
    await files.write("m/model.safetensors.index.json", JSON.stringify({ weight_map: map }));
    const error = await openModel(files, "m").catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(/weight_map/);
  }
  const both = await made({ more: { "model.safetensors.index.json": "{}" } });
  expect((await openModel(both, "m")).notes).toEqual([
    "m: model.safetensors is read, model.safetensors.index.json and its shards are not",
  ]);
});

test("token ids that are none are refused", async () => {
  for (const eos_token_id of ["x", 1.5, [2, "x"], {}]) {
    await expect(openModel(await made({ config: { eos_token_id } }), "m")).rejects.toThrow(
      /eos_token_id must be token ids/,
    );
  }
});

describe("pickle checkpoints are refused with the way to convert", () => {
  test("a payload that would leave a mark leaves none", async () => {
    const folder = await mkdtemp(`${tmpdir()}/pickle-`);
    const mark = `${folder}/mark`;
    // protocol 0: os.system("touch <mark>")
    const payload = `cposix\nsystem\n(S'touch ${mark}'\ntR.`;
    await writeFile(`${folder}/config.json`, jsonBytes(configToHf(CONFIG, "float32")));
    await writeFile(`${folder}/tokenizer.json`, "{}");
    await writeFile(`${folder}/pytorch_model.bin`, payload);
    for (const path of [folder, `${folder}/pytorch_model.bin`]) {
      await expect(openModel(nodeFiles, path)).rejects.toThrow(
        /pickle checkpoints .* are refused; convert it .*safe_serialization=True/,
      );
    }
    await expect(stat(mark)).rejects.toThrow();
    await rm(folder, { recursive: true });
  });
});

describe("weight_map cannot lead out of the folder", () => {
  test.each([
    "../canary.safetensors",
    "/tmp/canary.safetensors",
    "..\\canary.safetensors",
    "a\0.safetensors",
    "link.safetensors",
  ])("%j", async (shard) => {
    const root = await mkdtemp(`${tmpdir()}/shards-`);
    await writeSafetensors(nodeFiles, `${root}/canary.safetensors`, weights());
    await nodeFiles.makeFolder(`${root}/m`);
    await writeFile(`${root}/m/config.json`, jsonBytes(configToHf(CONFIG, "float32")));
    await writeFile(`${root}/m/tokenizer.json`, "{}");
    await symlink("../canary.safetensors", `${root}/m/link.safetensors`);
    const map = Object.fromEntries([...weightShapes(CONFIG).keys()].map((name) => [name, shard]));
    await writeFile(`${root}/m/model.safetensors.index.json`, jsonBytes({ weight_map: map }));
    const error = await openModel(nodeFiles, `${root}/m`).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(UserError);
    expect((error as Error).message).toMatch(/refused/);
    await rm(root, { recursive: true });
  });
});

test("tensors are read into memory that the caller gives", async () => {
  const path = fileURLToPath(new URL("../formats/fixtures/llama.gguf", import.meta.url));
  const model = await openModel(nodeFiles, path);
  for (const { name, shape } of model.tensors.tensors.values()) {
    const target = new Float32Array(sizeOf(shape));
    expect(await model.tensors.read(name, target)).toBe(target);
    expect(target.byteLength).toBe(bytesOf("f32", shape));
  }
  await model.close();
});

test("a GGUF is the same base under another name; hashes of versions in which its name counted are still known", async () => {
  const bytes = await nodeFiles.read(fileURLToPath(new URL("../formats/fixtures/llama.gguf", import.meta.url)));
  const files = memoryFiles({ "here/one.gguf": bytes, "there/two.gguf": bytes });
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  await files.write("here/other.gguf", longer);
  const [one, two, other] = await Promise.all(
    ["here/one.gguf", "there", "here/other.gguf"].map((path) => openModel(files, path)),
  );
  expect(await one!.hash()).toBe(createHash("sha256").update(bytes).digest("hex"));
  expect(await two!.hash()).toBe(await one!.hash());
  const former = createHash("sha256")
    .update(`${await one!.hash()}  one.gguf\n`)
    .digest("hex");
  const on = (base: AdapterBase) => ({ base }) as Adapter;
  for (const sha256 of [await one!.hash(), former]) {
    const adapter = on({ name: "here/one.gguf", sha256 });
    expect(await compareBase(adapter, one!)).toBe("same");
    expect(await compareBase(adapter, two!)).toBe("same");
    expect(await compareBase(adapter, other!)).toBe("different");
  }
  expect(await compareBase(on({ sha256: former }), one!)).toBe("same");
  expect(await compareBase(on({ name: "one.gguf" }), one!)).toBe("unknown");
});
