import { A, B, type HostAdapter, KINDS, kindOf } from "../../adapters/index.js";
import type { LinearName, ModelConfig } from "../../models/config.js";
import {
  adapterShapes,
  allTargets,
  type LinearLora,
  type LoraConfig,
  type LoraTargets,
  linearLora,
  modulePath,
  parseModulePath,
  type Target,
} from "../../models/lora-config.js";
import { holdsWhole, TOKEN_ROWS } from "../../models/whole-weights.js";
import { f32, type HostTensor, UserError } from "../../tensor/index.js";
import type { TokenizerFiles } from "../../tokenizers/files.js";
import type { AdapterBase } from "../base-hash.js";
import { type Files, join, writeFolder } from "../files.js";
import { renamedTensors, textName, wholeName } from "../hf/text-part.js";
import { pickleError } from "../hf/weights.js";
import { jsonBytes, readObject } from "../json.js";
import { CARD, writtenCard } from "../model-card.js";
import { openSafetensors } from "../safetensors.js";
import { hostTensor, writeSafetensors } from "../safetensors-writer.js";
import type { StoredTensor } from "../source.js";
import { writeTokenizer } from "../tokenizer-files.js";
import {
  ALL_LINEAR,
  checkedTargets,
  matchTargets,
  type PeftConfig,
  readPeftConfig,
  withoutModules,
  writePeftConfig,
} from "./config.js";
import { checkWhole, withoutSaved } from "./saved.js";

/** An adapter in memory. Tensors are keyed `model.layers.0.self_attn.q_proj.lora_A.weight`: A is [r, in], B [out, r]. */
export interface Adapter {
  readonly config: LoraConfig;
  readonly tensors: ReadonlyMap<string, HostTensor>;
  readonly base: AdapterBase;
}

export { adapterShapes };

/** What PEFT puts before a name in `adapter_model.safetensors`. */
const PREFIX = "base_model.model.";

/** One adapted linear layer of an adapter: what it is called, its rank and scale, its tensors, and of those the factors. */
export interface AdaptedModule extends LinearLora, HostAdapter {
  readonly layer: number;
  readonly name: LinearName;
  readonly a: HostTensor;
  readonly b: HostTensor;
}

/** The adapter of a module or of its weight (`model.layers.3.self_attn.q_proj.weight`); undefined where it has none. */
export function adaptedModule({ config, tensors }: Adapter, path: string): AdaptedModule | undefined {
  const target = parseModulePath(path.replace(/\.weight$/, ""));
  const lora = target && linearLora(config, ...target);
  if (!lora) return undefined;
  const [layer, name] = target;
  const tensor = (key: string) => tensors.get(`${modulePath(layer, name)}.${key}`)!;
  const [a, b] = [tensor(A), tensor(B)];
  const site = { ...lora, out: b.shape[0]!, in: a.shape[1]! };
  const own = Object.keys(kindOf(lora.kind).tensors(site)).map((key) => [key, tensor(key)]);
  return { ...site, layer, name, a, b, tensors: Object.fromEntries(own) };
}

/** Every adapted linear layer of an adapter, in the order of its tensors. */
export function adaptedModules(adapter: Adapter): AdaptedModule[] {
  return [...adapter.tensors.keys()]
    .filter((key) => key.endsWith(".lora_A.weight"))
    .map((key) => adaptedModule(adapter, key.replace(".lora_A.weight", ""))!);
}

/**
 * Reads a PEFT adapter folder for a model of shape `model`. Every tensor that its configuration calls for must be there in
 * the right shape, and no other: an adapter is applied whole or refused. Throws UserError naming the key or tensor.
 */
export async function readAdapter(files: Files, path: string, model: ModelConfig): Promise<Adapter> {
  const names = (await files.stat(path))?.kind === "folder" ? await files.list(path) : [];
  if (!names.includes("adapter_config.json"))
    throw new UserError(`${path}: no adapter here (adapter_config.json is missing)`);
  const configPath = await files.inside(path, "adapter_config.json");
  const json = (await readObject(files, configPath))!;
  const peft = readPeftConfig(json, configPath);
  if (!names.includes("adapter_model.safetensors")) {
    if (names.includes("adapter_model.bin")) throw pickleError(join(path, "adapter_model.bin"));
    throw new UserError(`${path}: adapter_model.safetensors is missing`);
  }
  const { metadata, ...weights } = await openSafetensors(files, await files.inside(path, "adapter_model.safetensors"));
  try {
    const nameOf = (name: string) => textName(bare(name, path));
    const twice = [...weights.tensors.keys()].map(nameOf).find((name, i, all) => all.indexOf(name) < i);
    if (twice) throw new UserError(`${path}: the tensor ${twice} is there twice, under two names`);
    const own = renamedTensors(weights, nameOf);
    const stored = own.tensors;
    const config = { ...peft.lora, ...targetsOf(peft, stored, model, path) };
    checkWhole(`${path}: adapter_config.json`, config, targetsIn(stored), model);
    checkTensors(stored, config, model, path);
    const tensors = new Map<string, HostTensor>();
    for (const [name, shape] of adapterShapes(config, model)) {
      const values = await own.read(name);
      if (!values.every(Number.isFinite))
        throw new UserError(`${path}: ${name} holds values that are not finite; it comes from a training that failed`);
      tensors.set(name, f32(shape, values));
    }
    const { base_sha256: sha256, base_stored: kind } = metadata;
    const inWhole = [...weights.tensors.keys()].some((key) => textName(bare(key, path)) !== bare(key, path));
    const base = {
      ...(inWhole ? { inWhole } : {}),
      ...(peft.baseModel ? { name: peft.baseModel } : {}),
      ...(sha256 ? { sha256 } : {}),
      ...(kind ? { stored: kind } : {}),
    };
    return { config, tensors, base };
  } finally {
    await weights.close();
  }
}

/**
 * Writes a PEFT adapter folder, whole or not at all; an earlier one of that name is replaced. The base's hash goes into the
 * safetensors metadata, where PEFT does not look; where the base also sees, the names are its own and `target_modules` are paths, as a name
 * alone would mean its eyes' layers too; the tokenizer and its template go along, so that it can be served. A README.md
 * that somebody wrote or edited there stays; else `card` is it.
 */
export async function writeAdapter(
  files: Files,
  path: string,
  adapter: Adapter,
  options: { readonly tokenizer?: TokenizerFiles; readonly card?: string } = {},
): Promise<void> {
  const { sha256, stored, name, inWhole } = adapter.base;
  const named = inWhole ? wholeName : (path: string) => path;
  const metadata: Record<string, string> = {
    ...(sha256 ? { base_sha256: sha256 } : {}),
    ...(stored ? { base_stored: stored } : {}),
    format: "pt",
  };
  const tensors = [...adapter.tensors].map(([key, tensor]) => hostTensor(PREFIX + named(key), tensor));
  const paths = adaptedModules(adapter).map((module) => named(modulePath(module.layer, module.name)));
  const saved = [...savedTensors(adapter)].map((key) => named(key.replace(/\.\w+$/, "")));
  const config = writePeftConfig(adapter.config, name, paths, {
    ...(inWhole ? { inWhole } : {}),
    saved: [...new Set(saved)],
  });
  const card = (await writtenCard(files, path)) ?? options.card;
  await writeFolder(files, path, async (folder) => {
    await writeSafetensors(files, join(folder, "adapter_model.safetensors"), tensors, metadata);
    await files.write(join(folder, "adapter_config.json"), jsonBytes(config));
    if (options.tokenizer) await writeTokenizer(files, folder, options.tokenizer);
    if (card !== undefined) await files.write(join(folder, CARD), card);
  });
}

/**
 * Whether an adapter changes nothing: every B A is zero, as in a fresh adapter. Worth a word before it is used. Of a kind that goes by
 * the norms of the weight, and of one that holds whole weights, its tensors alone do not say so.
 */
export function changesNothing(adapter: Adapter): boolean {
  if (kindOf(adapter.config.kind).startsAtNorms || holdsWhole(adapter.config)) return false;
  const isZero = (name: string) => (adapter.tensors.get(name)!.data as Float32Array).every((value) => value === 0);
  if (![...adapter.tensors.keys()].filter((name) => name.endsWith(".lora_B.bias")).every(isZero)) return false;
  return [...adapter.tensors.keys()]
    .filter((name) => name.endsWith(".lora_B.weight"))
    .every((name) => isZero(name) || isZero(name.replace(".lora_B.", ".lora_A.")));
}

/** The weights that an adapter holds whole, by published name; rows of single tokens are not among them. */
const savedTensors = ({ tensors, config }: Adapter): string[] =>
  config.modulesToSave ? [...tensors.keys()].filter((name) => !name.includes(".lora_") && name !== TOKEN_ROWS) : [];

/** What an adapter holds whole, by PEFT's keys; undefined: nothing. */
export function wholeKeys({ modulesToSave, trainableTokenIndices }: LoraConfig): string | undefined {
  const keys = [modulesToSave && "modules_to_save", trainableTokenIndices && "trainable_token_indices"];
  return keys.filter(Boolean).join(" and ") || undefined;
}

/** Throws UserError for an adapter that is more than A and B, where `what` can hold nothing else. */
export function refuseMoreThanFactors({ config }: Adapter, what: string): void {
  const whole = wholeKeys(config);
  if (whole)
    throw new UserError(
      `${what} holds A and B alone, and this adapter has weights of its own (${whole}): merge it, or export it as hf, gguf, onnx or peft`,
    );
  const { title, key } = kindOf(config.kind);
  if (key === undefined) return;
  throw new UserError(
    `${what} holds A and B alone, and this is a ${title} adapter (${key}): merge it, or export it as peft, hf, gguf, onnx or mlx`,
  );
}

/** A model's own state, saved without `save_pretrained`, names its adapter in each tensor; PEFT reads "default" as none. */
const ADAPTER_NAME =
  /(?<=\.lora_[AB])\.default(?=\.(?:weight|bias)$)|(?<=\.lora_magnitude_vector)\.default(\.weight)?$/;

/** A tensor's name without PEFT's prefix. */
function bare(name: string, path: string): string {
  if (name.startsWith(PREFIX)) return name.slice(PREFIX.length).replace(ADAPTER_NAME, "");
  throw new UserError(`${path}: the tensor ${JSON.stringify(name)} is unknown; PEFT's names start with ${PREFIX}`);
}

/**
 * Which linear layers carry an adapter. A regular expression is not run (it is somebody else's, and PEFT's may be of any kind):
 * the tensors themselves say it then.
 */
function targetsOf(
  { lora, targetModules, excludeModules, layersToTransform }: PeftConfig,
  tensors: ReadonlyMap<string, StoredTensor>,
  model: ModelConfig,
  path: string,
): LoraTargets {
  const { numHiddenLayers } = model;
  const beyond = layersToTransform?.find((layer) => layer >= numHiddenLayers);
  if (beyond !== undefined)
    throw new UserError(`${path}: it adapts layer ${beyond}, this model has ${numHiddenLayers} layers`);
  const there = targetsIn(tensors);
  const inside = ([layer]: Target) => layersToTransform?.includes(layer) ?? true;
  const called =
    targetModules === undefined
      ? there.filter(inside)
      : targetModules === ALL_LINEAR
        ? allTargets(model).filter(inside)
        : matchTargets(targetModules.map(textName), model, `${path}: target_modules`, layersToTransform);
  const kept =
    excludeModules === "expression"
      ? called.filter(([layer, name]) => there.some((target) => target[0] === layer && target[1] === name))
      : withoutModules(called, excludeModules ?? []);
  return checkedTargets(withoutSaved(kept, lora.modulesToSave), model, path);
}

/** Whole weights that PEFT saves along, and everything else that is no tensor of a kind of adapter. */
const isOutside = (name: string): boolean => !TENSOR_NAMES.some((own) => name.endsWith(`.${own}`));
const MERGE_FIRST = "; merge this adapter with PEFT first";

/** What the tensors of any kind are called. */
const TENSOR_NAMES = Object.values(KINDS).flatMap((kind) =>
  Object.keys(kind.tensors({ out: 1, in: 1, r: 1, scale: 1 })),
);

const targetsIn = (tensors: ReadonlyMap<string, StoredTensor>): Target[] => adaptedTargets(tensors.keys());

/** The linear layers that these tensor names adapt. */
export function adaptedTargets(names: Iterable<string>): Target[] {
  return [...names].flatMap((name) => {
    const target = name.endsWith(A_WEIGHT) ? parseModulePath(name.slice(0, -A_WEIGHT.length)) : undefined;
    return target ? [target] : [];
  });
}

const A_WEIGHT = ".lora_A.weight";

/** The rank of a factor, in words. */
function rankOf(name: string, lora: LoraConfig): string {
  const target = parseModulePath(name.replace(/\.lora_[AB]\.weight$/, ""));
  return target ? ` and r = ${linearLora(lora, ...target)!.r}` : "";
}

function checkTensors(
  tensors: ReadonlyMap<string, StoredTensor>,
  lora: LoraConfig,
  model: ModelConfig,
  path: string,
): void {
  const expected = adapterShapes(lora, model);
  for (const [name, shape] of expected) {
    const tensor = tensors.get(name);
    if (!tensor) throw new UserError(`${path}: the tensor ${name} is missing, though its configuration calls for it`);
    if (tensor.shape.join() !== shape.join()) {
      throw new UserError(
        `${path}: ${name} should be [${shape}] for this model${rankOf(name, lora)}, but is [${tensor.shape}]; is this another base?`,
      );
    }
  }
  const unknown = [...tensors.keys()].find((name) => !expected.has(name));
  if (unknown)
    throw new UserError(
      `${path}: the tensor ${unknown} is not called for by its configuration; it would not be applied${isOutside(unknown) ? MERGE_FIRST : ""}`,
    );
}
