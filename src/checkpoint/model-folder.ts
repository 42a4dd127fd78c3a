import { type LlamaConfig, weightShapes } from "../models/config.js";
import { nearest, UserError } from "../tensor/index.js";
import { namedTemplate, type TokenizerFiles } from "../tokenizers/files.js";
import { hashModel } from "./base-hash.js";
import { type Files, join } from "./files.js";
import { readGguf } from "./gguf.js";
import { ggufTensors, llamaConfigFromGguf, readRopeFreqs } from "./gguf-llama.js";
import { tokenizerFromGguf } from "./gguf-tokenizer.js";
import { llamaConfigFromHf } from "./hf-config.js";
import { type JsonObject, parseObject, readObject } from "./json.js";
import { openSafetensors } from "./safetensors.js";
import type { StoredTensor, TensorSource } from "./source.js";

/** What decoding needs beside the weights. */
export interface GenerationDefaults {
  /** Tokens that end a text: `eos_token_id` of generation_config.json, else config.json, else the GGUF's eos and eot. */
  readonly eosIds: readonly number[];
  readonly bosId?: number;
}

/** A model on disk, opened: everything checked, no weight read yet. */
export interface OpenModel {
  readonly path: string;
  readonly kind: "hf" | "gguf";
  readonly config: LlamaConfig;
  readonly tensors: TensorSource;
  readonly tokenizer: TokenizerFiles;
  readonly generationConfig: GenerationDefaults;
  /** `config.json` and `generation_config.json` as they were; absent for a GGUF. */
  readonly configJson?: JsonObject;
  readonly generationJson?: JsonObject;
  /** Tensors in the checkpoint that are no weights of this model: never read, worth a word to the user. */
  readonly ignored: readonly string[];
  /** SHA-256 (hex) over the configuration and weight files' bytes: which model this is. A GGUF's own, whatever it is called. Computed once. */
  hash(): Promise<string>;
  close(): Promise<void>;
}

/** Left over from old versions; every reader recomputes them. */
const HARMLESS = /\.rotary_emb\.inv_freq$/;
const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "chat_template.jinja",
  "added_tokens.json",
  "tokenizer.model",
  "vocab.json",
  "merges.txt",
];
const PICKLES = /\.(bin|pt|pth|ckpt|pkl)$/;

/**
 * Opens a Hugging Face folder, a `.gguf` file or a folder with one. Checks the configuration and that every weight is
 * there with the right shape, before anything is read. Throws UserError naming the file, key or tensor otherwise.
 */
export async function openModel(files: Files, path: string): Promise<OpenModel> {
  const found = await files.stat(path);
  if (!found) throw new UserError(`${path}: no such file or folder; a model is a Hugging Face folder or a .gguf file`);
  if (found.kind === "file") {
    if (path.endsWith(".gguf")) return openGguf(files, path);
    if (PICKLES.test(path)) throw pickleError(path);
    throw new UserError(`${path}: a model is a Hugging Face folder or a .gguf file`);
  }
  const names = await files.list(path);
  if (names.includes("config.json")) return openHfFolder(files, path, names);
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  if (ggufs.length === 1) return openGguf(files, await files.inside(path, ggufs[0]!));
  if (ggufs.length > 1)
    throw new UserError(`${path}: it has several GGUF files (${ggufs.join(", ")}); name the one to use`);
  if (names.includes("adapter_config.json"))
    throw new UserError(`${path}: this is an adapter, not a model; give its base as the model`);
  if (names.some((name) => PICKLES.test(name))) throw pickleError(path);
  throw new UserError(`${path}: neither config.json nor a .gguf file is in this folder`);
}

/** Why pickle files are refused, and the way out. */
export function pickleError(path: string): UserError {
  return new UserError(
    `${path}: pickle checkpoints (.bin, .pt) can run any code when they are read, so they are refused; convert it where you trust it: ` +
      `python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained('IN').save_pretrained('OUT', safe_serialization=True)"`,
  );
}

async function openGguf(files: Files, path: string): Promise<OpenModel> {
  const file = await files.open(path);
  try {
    const gguf = await readGguf(file);
    const config = llamaConfigFromGguf(gguf, path, await readRopeFreqs(file, gguf));
    const tensors = ggufTensors(file, gguf, config);
    const ignored = checkWeights(tensors.tensors, config, path);
    const id = (name: string) => gguf.metadata.get(`tokenizer.ggml.${name}_token_id`);
    const ends = [id("eos"), id("eot"), id("eom")].filter((value) => typeof value === "number");
    const bosId = id("bos");
    return {
      path,
      kind: "gguf",
      config,
      tensors,
      tokenizer: tokenizerFromGguf(gguf.metadata, path),
      generationConfig: { eosIds: [...new Set(ends)], ...(typeof bosId === "number" ? { bosId } : {}) },
      ignored,
      hash: hasher(files, [path]),
      close: () => tensors.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openHfFolder(files: Files, path: string, names: readonly string[]): Promise<OpenModel> {
  const configPath = await files.inside(path, "config.json");
  const configJson = (await readObject(files, configPath))!;
  const config = llamaConfigFromHf(configJson, configPath);
  const generationJson = names.includes("generation_config.json")
    ? await readObject(files, await files.inside(path, "generation_config.json"))
    : undefined;
  const tokenizer = await readTokenizer(files, path, names);
  const { tensors, weightFiles } = await openWeights(files, path, names);
  try {
    return {
      path,
      kind: "hf",
      config,
      tensors,
      tokenizer,
      generationConfig: generationDefaults(generationJson, configJson),
      configJson,
      ...(generationJson ? { generationJson } : {}),
      ignored: checkWeights(tensors.tensors, config, path),
      hash: hasher(files, [configPath, ...weightFiles]),
      close: () => tensors.close(),
    };
  } catch (error) {
    await tensors.close();
    throw error;
  }
}

/** Reads a folder's tokenizer. Throws UserError when there is no tokenizer.json. */
export async function readTokenizer(files: Files, path: string, names: readonly string[]): Promise<TokenizerFiles> {
  const originals = new Map<string, Uint8Array>();
  for (const name of TOKENIZER_FILES.filter((n) => names.includes(n))) {
    originals.set(name, await files.read(await files.inside(path, name)));
  }
  if (!originals.has("tokenizer.json")) {
    throw new UserError(
      `${path}: tokenizer.json is missing; make it with python -c "from transformers import AutoTokenizer as T; T.from_pretrained('IN').save_pretrained('OUT')"`,
    );
  }
  const object = (name: string, unique: boolean) => {
    const bytes = originals.get(name);
    return bytes ? parseObject(join(path, name), bytes, { unique }) : {};
  };
  const tokenizerConfig = object("tokenizer_config.json", true);
  const jinja = originals.get("chat_template.jinja");
  const chatTemplate = jinja ? new TextDecoder().decode(jinja) : namedTemplate(tokenizerConfig.chat_template);
  return {
    tokenizerJson: object("tokenizer.json", false), // a vocabulary may hold any word, "__proto__" too
    tokenizerConfig,
    ...(originals.has("special_tokens_map.json") ? { specialTokensMap: object("special_tokens_map.json", true) } : {}),
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
    originals,
  };
}

async function openWeights(
  files: Files,
  path: string,
  names: readonly string[],
): Promise<{ tensors: TensorSource; weightFiles: string[] }> {
  if (names.includes("model.safetensors")) {
    const weights = await files.inside(path, "model.safetensors");
    return { tensors: await openSafetensors(files, weights), weightFiles: [weights] };
  }
  if (names.includes("model.safetensors.index.json")) return openShards(files, path);
  if (names.some((name) => PICKLES.test(name))) throw pickleError(path);
  throw new UserError(`${path}: neither model.safetensors nor model.safetensors.index.json is in this folder`);
}

async function openShards(files: Files, path: string): Promise<{ tensors: TensorSource; weightFiles: string[] }> {
  const indexPath = await files.inside(path, "model.safetensors.index.json");
  const map = (await readObject(files, indexPath))?.weight_map as Record<string, unknown> | undefined;
  if (typeof map !== "object" || map === null) throw new UserError(`${indexPath}: weight_map is missing`);
  const shards = new Map<string, TensorSource>();
  const close = async () => {
    for (const shard of shards.values()) await shard.close();
  };
  const weightFiles: string[] = [];
  const owner = new Map<string, TensorSource>();
  const tensors = new Map<string, StoredTensor>();
  try {
    for (const [name, shardName] of Object.entries(map)) {
      if (typeof shardName !== "string")
        throw new UserError(`${indexPath}: weight_map of ${JSON.stringify(name)} is not a file name`);
      let shard = shards.get(shardName);
      if (!shard) {
        const shardPath = await files.inside(path, shardName);
        if (PICKLES.test(shardName)) throw pickleError(shardPath);
        shard = await openSafetensors(files, shardPath);
        shards.set(shardName, shard);
        weightFiles.push(shardPath);
      }
      const tensor = shard.tensors.get(name);
      if (!tensor) throw new UserError(`${join(path, shardName)}: ${name} is not in it, though the index says so`);
      owner.set(name, shard);
      tensors.set(name, tensor);
    }
  } catch (error) {
    await close();
    throw error;
  }
  const find = (name: string): TensorSource => {
    const shard = owner.get(name);
    if (!shard) throw new UserError(`${indexPath}: tensor ${JSON.stringify(name)} is not in it`);
    return shard;
  };
  return {
    weightFiles: weightFiles.sort(),
    tensors: {
      format: "safetensors",
      tensors,
      files: [...shards.values()].flatMap((shard) => shard.files),
      read: async (name, target) => find(name).read(name, target),
      readRaw: async (name, target) => find(name).readRaw(name, target),
      place: (name) => find(name).place(name),
      close,
    },
  };
}

/** Every weight must be there in its shape; returns the names that are no weights of this model. */
function checkWeights(tensors: ReadonlyMap<string, StoredTensor>, config: LlamaConfig, path: string): string[] {
  const shapes = weightShapes(config);
  for (const [name, shape] of shapes) {
    const tensor = tensors.get(name);
    if (!tensor) {
      const near = nearest(
        name,
        [...tensors.keys()].filter((other) => !shapes.has(other)),
      );
      throw new UserError(`${path}: the weight ${name} [${shape}] is missing${near ? ` (it has ${near})` : ""}`);
    }
    if (tensor.shape.join() !== shape.join()) {
      throw new UserError(`${path}: ${name} should be [${shape}] by its configuration, but is [${tensor.shape}]`);
    }
  }
  const tied = config.tieWordEmbeddings ? "lm_head.weight" : undefined;
  return [...tensors.keys()].filter((name) => !shapes.has(name) && !HARMLESS.test(name) && name !== tied);
}

function generationDefaults(generation: JsonObject | undefined, config: JsonObject): GenerationDefaults {
  const ids = (value: unknown): number[] =>
    (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isInteger(id));
  const bosId = ids(generation?.bos_token_id ?? config.bos_token_id)[0];
  return {
    eosIds: ids(generation?.eos_token_id ?? config.eos_token_id),
    ...(bosId === undefined ? {} : { bosId }),
  };
}

function hasher(files: Files, paths: readonly string[]): () => Promise<string> {
  let result: Promise<string> | undefined;
  return () => {
    result ??= hashModel(files, paths);
    return result;
  };
}
