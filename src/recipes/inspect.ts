import { adapterFolder } from "../formats/adapter-folder.js";
import { baseName, type Files, join } from "../formats/files.js";
import { readGgufConfig } from "../formats/gguf/config.js";
import { ggufNotes } from "../formats/gguf/notes.js";
import { type OpenGguf, openGgufParts } from "../formats/gguf/parts.js";
import { readRopeTensors } from "../formats/gguf/rope.js";
import { readObject } from "../formats/json.js";
import { readPeftConfig } from "../formats/peft/config.js";
import { openSafetensors } from "../formats/safetensors.js";
import type { StoredTensor } from "../formats/source.js";
import { FAMILIES } from "../models/index.js";
import type { Platform } from "../platform/platform.js";
import { sizeOf, UserError } from "../tensor/index.js";
import { hasTemplates } from "../tokenizers/files.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";

/** What a path holds. */
export interface Inspection {
  readonly path: string;
  readonly kind: "model" | "adapter" | "gguf" | "safetensors";
  /** Numbers in all tensors together. */
  readonly parameters: number;
  readonly bytes: number;
  /** Parameters by the type they are stored in. */
  readonly stored: Readonly<Record<string, number>>;
  /** What the configuration or metadata says, by its own keys. */
  readonly details: Readonly<Record<string, unknown>>;
  /** Sentences about what it says or holds and lowrank does not use. */
  readonly notes: readonly string[];
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly stored: string }[];
}

/**
 * Says what a model folder, adapter folder, GGUF or safetensors file holds, reading headers only. Throws UserError when it
 * is damaged or none of these.
 */
export async function inspect(
  named: string,
  { files, resolvePath }: Pick<Platform, "files" | "resolvePath">,
): Promise<Inspection> {
  const path = resolvePath(named);
  const found = await files.stat(path);
  if (!found) throw new UserError(`${path}: no such file or folder`);
  if (found.kind === "folder") {
    const names = await files.list(path);
    const isModel = names.includes("config.json") || names.some((name) => name.endsWith(".gguf"));
    return isModel ? inspectModel(files, path) : inspectAdapter(files, await adapterFolder(files, path));
  }
  if (path.endsWith(".gguf")) return inspectGguf(files, path);
  if (path.endsWith(".safetensors")) return inspectSafetensors(files, path);
  throw new UserError(`${path}: expected a model or adapter folder, a .gguf or a .safetensors file`);
}

async function inspectModel(files: Files, path: string): Promise<Inspection> {
  const model: OpenModel = await openModel(files, path);
  try {
    const { config, tokenizer, generationConfig, notes } = model;
    const weightFiles = model.tensors.files.map((file) => baseName(file.path));
    const details = {
      ...config,
      chatTemplate: hasTemplates(tokenizer),
      eosIds: generationConfig.eosIds,
      ...(weightFiles.length > 1 ? { parts: weightFiles } : {}),
    };
    return { path, kind: "model", ...summary(model.tensors.tensors), details, notes };
  } finally {
    await model.close();
  }
}

async function inspectAdapter(files: Files, path: string): Promise<Inspection> {
  const config = await readObject(files, await files.inside(path, "adapter_config.json"));
  const { lora, targetModules, excludeModules, layersToTransform, baseModel } = readPeftConfig(
    config!,
    join(path, "adapter_config.json"),
  );
  const weights = await openSafetensors(files, await files.inside(path, "adapter_model.safetensors"));
  try {
    const targets = targetModules ?? adaptedLinears(weights.tensors.keys());
    const details = {
      baseModel,
      targetModules: targets,
      excludeModules,
      layersToTransform,
      ...lora,
      metadata: weights.metadata,
    };
    return { path, kind: "adapter", ...summary(weights.tensors), details, notes: [] };
  } finally {
    await weights.close();
  }
}

async function inspectSafetensors(files: Files, path: string): Promise<Inspection> {
  const weights = await openSafetensors(files, path);
  try {
    return {
      path,
      kind: "safetensors",
      ...summary(weights.tensors),
      details: { metadata: weights.metadata },
      notes: [],
    };
  } finally {
    await weights.close();
  }
}

/** A GGUF's own names and metadata, of whatever architecture; long lists are shortened. */
async function inspectGguf(files: Files, path: string): Promise<Inspection> {
  const gguf = await openGgufParts(files, path);
  try {
    const details = Object.fromEntries(
      [...gguf.metadata].map(([key, value]) => [
        key,
        Array.isArray(value) && value.length > 8 ? `${value.length} values` : plain(value),
      ]),
    );
    const tensors = new Map([...gguf.tensors].map(([name, tensor]) => [name, { ...tensor, stored: tensor.type }]));
    const notes = await notesOf(gguf, path);
    const parts = gguf.files.length > 1 ? { parts: gguf.files.map((file) => baseName(file.path)) } : {};
    return { path, kind: "gguf", ...summary(tensors), details: { ...details, ...parts }, notes };
  } finally {
    await gguf.close();
  }
}

/** What a model's metadata says and nothing uses, or why it is refused; nothing about other architectures. */
async function notesOf(gguf: OpenGguf, path: string): Promise<string[]> {
  const architecture = gguf.metadata.get("general.architecture");
  const known = [...FAMILIES.values()].some((family) => family.gguf.architecture === architecture);
  if (!known || gguf.metadata.get("general.type") === "adapter") return [];
  try {
    const { used } = readGgufConfig(gguf, path, await readRopeTensors(gguf));
    return ggufNotes(gguf.metadata, used, path);
  } catch (error) {
    if (error instanceof UserError) return [`it cannot be loaded: ${error.message}`];
    throw error;
  }
}

/** The last names of the modules that have an A among these tensors. */
function adaptedLinears(names: Iterable<string>): string[] {
  const found = [...names].flatMap((name) => /([^.]+)\.lora_A\.weight$/.exec(name)?.[1] ?? []);
  return [...new Set(found)];
}

function plain(value: unknown): unknown {
  return typeof value === "bigint" ? Number(value) : value;
}

function summary(tensors: ReadonlyMap<string, StoredTensor>): Omit<Inspection, "path" | "kind" | "details" | "notes"> {
  const stored: Record<string, number> = {};
  let parameters = 0;
  let bytes = 0;
  for (const tensor of tensors.values()) {
    const count = sizeOf(tensor.shape);
    stored[tensor.stored] = (stored[tensor.stored] ?? 0) + count;
    parameters += count;
    bytes += tensor.bytes;
  }
  const list = [...tensors.values()].map(({ name, shape, stored: type }) => ({ name, shape, stored: type }));
  return { parameters, bytes, stored, tensors: list };
}

/** The inspection's name for people. */
export function inspectionTitle({ path, kind }: Inspection): string {
  return `${baseName(path)}: ${kind === "gguf" ? "GGUF file" : kind === "safetensors" ? "safetensors file" : kind}`;
}
