import { type Files, join } from "../formats/files.js";
import { partsIn } from "../formats/gguf/parts.js";
import { readHfConfig } from "../formats/hf/config.js";
import { renamedTensors, textName } from "../formats/hf/text-part.js";
import { openWeights, PICKLES, pickleError } from "../formats/hf/weights.js";
import { type JsonObject, parseObject, readObject } from "../formats/json.js";
import type { TensorSource } from "../formats/source.js";
import type { ModelConfig } from "../models/config.js";
import { textPart } from "../models/read-config.js";
import { UserError } from "../tensor/index.js";
import { type ChatTemplates, configTemplates, type TokenizerFiles, templatesOf } from "../tokenizers/files.js";
import { openGguf } from "./gguf-model.js";
import { checkWeights, hasher } from "./model-checks.js";
import { headTied, withEmbedding } from "./tied-head.js";

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
  readonly config: ModelConfig;
  readonly tensors: TensorSource;
  readonly tokenizer: TokenizerFiles;
  readonly generationConfig: GenerationDefaults;
  /** `config.json` (of a model that also sees its text part, `textPart`) and `generation_config.json`; absent for a GGUF. */
  readonly configJson?: JsonObject;
  readonly generationJson?: JsonObject;
  /** This is the text part of a model that also sees. Default false. */
  readonly inWhole?: boolean;
  /** Tensors in the checkpoint that are no weights of this model: never read, worth a word to the user. */
  readonly ignored: readonly string[];
  /** Sentences about what the checkpoint says and nothing here uses, `ignored` among it: to be shown once. */
  readonly notes: readonly string[];
  /** SHA-256 (hex) over the configuration and weight files' bytes: which model this is. A GGUF's own, whatever it is called. Computed once. */
  hash(): Promise<string>;
  close(): Promise<void>;
}

const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "chat_template.jinja",
  "chat_template.json",
  "added_tokens.json",
  "tokenizer.model",
  "vocab.json",
  "merges.txt",
];
/** Where transformers keeps the templates that have names. */
const TEMPLATE_FOLDER = "additional_chat_templates";

/**
 * Opens a Hugging Face folder, a `.gguf` file (any part of a split one) or a folder with one. Checks the configuration and that every weight is
 * there with the right shape, before anything is read. Throws UserError naming the file, key or tensor otherwise.
 */
export async function openModel(files: Files, path: string): Promise<OpenModel> {
  const found = await files.stat(path);
  if (!found)
    throw new UserError(`${path}: no such file or folder; a model is a Hugging Face folder or a .gguf file`, {
      code: "not_found",
    });
  if (found.kind === "file") {
    if (path.endsWith(".gguf")) return openGguf(files, path);
    if (PICKLES.test(path)) throw pickleError(path);
    throw new UserError(`${path}: a model is a Hugging Face folder or a .gguf file`);
  }
  const names = await files.list(path);
  if (names.includes("config.json")) return openHfFolder(files, path, names);
  const ggufs = names.filter((name) => name.endsWith(".gguf"));
  if (ggufs.length === 1) return openGguf(files, await files.inside(path, ggufs[0]!));
  const parts = partsIn(ggufs);
  if (parts) return openGguf(files, await files.inside(path, parts[0]!));
  if (ggufs.length > 1)
    throw new UserError(`${path}: it has several GGUF files (${ggufs.join(", ")}); name the one to use`);
  if (names.includes("adapter_config.json"))
    throw new UserError(`${path}: this is an adapter, not a model; give its base as the model`);
  if (names.some((name) => PICKLES.test(name))) throw pickleError(path);
  throw new UserError(`${path}: neither config.json nor a .gguf file is in this folder`);
}

async function openHfFolder(files: Files, path: string, names: readonly string[]): Promise<OpenModel> {
  const configPath = await files.inside(path, "config.json");
  const whole = (await readObject(files, configPath))!;
  const configJson = textPart(whole);
  const { config: said, notes: unused } = readHfConfig(configJson, configPath);
  const generationJson = names.includes("generation_config.json")
    ? await readObject(files, await files.inside(path, "generation_config.json"))
    : undefined;
  const generationConfig = generationDefaults(generationJson, configJson, path);
  const tokenizer = await readTokenizer(files, path, names);
  const { weightFiles, notes, ...weights } = await openWeights(files, path, names);
  const inWhole = configJson !== whole;
  const tensors = withEmbedding(said, inWhole ? renamedTensors(weights.tensors, textName) : weights.tensors);
  try {
    const { ignored, notes: leftOver } = checkWeights(tensors.tensors, said, path);
    const head = await headTied(said, tensors, configPath);
    return {
      path,
      kind: "hf",
      config: { ...said, tieWordEmbeddings: head.tied },
      tensors,
      tokenizer,
      generationConfig,
      configJson,
      ...(inWhole ? { inWhole } : {}),
      ...(generationJson ? { generationJson } : {}),
      ignored,
      notes: [...unused, ...head.notes, ...notes, ...leftOver],
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
  const found = TOKENIZER_FILES.filter((name) => names.includes(name));
  for (const name of [...found, ...(await templateFiles(files, path, names))]) {
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
  return {
    tokenizerJson: object("tokenizer.json", false), // a vocabulary may hold any word, "__proto__" too
    tokenizerConfig,
    ...(originals.has("special_tokens_map.json") ? { specialTokensMap: object("special_tokens_map.json", true) } : {}),
    ...readTemplates(originals, tokenizerConfig, () => object("chat_template.json", true)),
    originals,
  };
}

/** The named templates' files, relative to the model's folder. */
async function templateFiles(files: Files, path: string, names: readonly string[]): Promise<string[]> {
  if (!names.includes(TEMPLATE_FOLDER)) return [];
  const listed = await files.list(await files.inside(path, TEMPLATE_FOLDER));
  const jinja = listed.filter((name) => name.endsWith(".jinja")).sort();
  return jinja.map((name) => `${TEMPLATE_FOLDER}/${name}`);
}

/** Templates in files of their own, else those in tokenizer_config.json, else an old processor's chat_template.json. */
function readTemplates(
  originals: ReadonlyMap<string, Uint8Array>,
  tokenizerConfig: JsonObject,
  old: () => JsonObject,
): ChatTemplates {
  const byName = new Map<string, string>();
  for (const [name, bytes] of originals) {
    const [, named] = new RegExp(`^${TEMPLATE_FOLDER}/(.*)\\.jinja$`).exec(name) ?? [];
    const key = name === "chat_template.jinja" ? "default" : named;
    if (key !== undefined) byName.set(key, new TextDecoder().decode(bytes));
  }
  if (byName.size > 0) return templatesOf(byName);
  return configTemplates(tokenizerConfig.chat_template ?? old().chat_template);
}

function generationDefaults(generation: JsonObject | undefined, config: JsonObject, where: string): GenerationDefaults {
  const ids = (key: string): number[] => {
    const value = generation?.[key] ?? config[key] ?? [];
    const list: unknown[] = Array.isArray(value) ? value : [value];
    if (list.every((id): id is number => Number.isInteger(id))) return list;
    throw new UserError(`${where}: ${key} must be token ids, got ${JSON.stringify(value)}`);
  };
  const bosId = ids("bos_token_id")[0];
  return { eosIds: ids("eos_token_id"), ...(bosId === undefined ? {} : { bosId }) };
}
