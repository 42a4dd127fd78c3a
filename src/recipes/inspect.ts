import { baseName, type Files, join } from "../checkpoint/files.js";
import { readGguf } from "../checkpoint/gguf.js";
import { readObject } from "../checkpoint/json.js";
import { type OpenModel, openModel } from "../checkpoint/model-folder.js";
import { readPeftConfig } from "../checkpoint/peft-config.js";
import { openSafetensors } from "../checkpoint/safetensors.js";
import type { StoredTensor } from "../checkpoint/source.js";
import { sizeOf, UserError } from "../tensor/index.js";
import { hasTemplates } from "../tokenizers/files.js";

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
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly stored: string }[];
}

/**
 * Says what a model folder, adapter folder, GGUF or safetensors file holds, reading headers only. Throws UserError when it
 * is damaged or none of these.
 */
export async function inspect(files: Files, path: string): Promise<Inspection> {
  const found = await files.stat(path);
  if (!found) throw new UserError(`${path}: no such file or folder`);
  if (found.kind === "folder") {
    const names = await files.list(path);
    return names.includes("adapter_config.json") ? inspectAdapter(files, path) : inspectModel(files, path);
  }
  if (path.endsWith(".gguf")) return inspectGguf(files, path);
  if (path.endsWith(".safetensors")) return inspectSafetensors(files, path);
  throw new UserError(`${path}: expected a model or adapter folder, a .gguf or a .safetensors file`);
}

async function inspectModel(files: Files, path: string): Promise<Inspection> {
  const model: OpenModel = await openModel(files, path);
  try {
    const { config, tokenizer, generationConfig, ignored } = model;
    const details = {
      ...config,
      chatTemplate: hasTemplates(tokenizer),
      eosIds: generationConfig.eosIds,
      ...(ignored.length > 0 ? { ignored } : {}),
    };
    return { path, kind: "model", ...summary(model.tensors.tensors), details };
  } finally {
    await model.close();
  }
}

async function inspectAdapter(files: Files, path: string): Promise<Inspection> {
  const config = await readObject(files, await files.inside(path, "adapter_config.json"));
  const { lora, targetModules, baseModel } = readPeftConfig(config!, join(path, "adapter_config.json"));
  const weights = await openSafetensors(files, await files.inside(path, "adapter_model.safetensors"));
  try {
    const details = { baseModel, targetModules, ...lora, metadata: weights.metadata };
    return { path, kind: "adapter", ...summary(weights.tensors), details };
  } finally {
    await weights.close();
  }
}

async function inspectSafetensors(files: Files, path: string): Promise<Inspection> {
  const weights = await openSafetensors(files, path);
  try {
    return { path, kind: "safetensors", ...summary(weights.tensors), details: { metadata: weights.metadata } };
  } finally {
    await weights.close();
  }
}

/** A GGUF's own names and metadata, of whatever architecture; long lists are shortened. */
async function inspectGguf(files: Files, path: string): Promise<Inspection> {
  const file = await files.open(path);
  try {
    const gguf = await readGguf(file);
    const details = Object.fromEntries(
      [...gguf.metadata].map(([key, value]) => [
        key,
        Array.isArray(value) && value.length > 8 ? `${value.length} values` : plain(value),
      ]),
    );
    const tensors = new Map([...gguf.tensors].map(([name, tensor]) => [name, { ...tensor, stored: tensor.type }]));
    return { path, kind: "gguf", ...summary(tensors), details };
  } finally {
    await file.close();
  }
}

function plain(value: unknown): unknown {
  return typeof value === "bigint" ? Number(value) : value;
}

function summary(tensors: ReadonlyMap<string, StoredTensor>): Omit<Inspection, "path" | "kind" | "details"> {
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
