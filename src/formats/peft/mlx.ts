import { type KindName, kindOf } from "../../adapters/index.js";
import { LINEARS, type LinearName, linearShape, type ModelConfig } from "../../models/config.js";
import { type LoraConfig, modulePath, parseModulePath, patternsOf } from "../../models/lora-config.js";
import { f32, type HostTensor, UserError } from "../../tensor/index.js";
import { type Files, join, writeFolder } from "../files.js";
import { type JsonObject, jsonBytes, readObject } from "../json.js";
import { openSafetensors } from "../safetensors.js";
import { hostTensor, narrowed, type TensorToWrite, type WeightDtype, writeSafetensors } from "../safetensors-writer.js";
import type { TensorSource } from "../source.js";
import { type Adapter, adaptedModules, adaptedTargets, wholeKeys } from "./adapter.js";
import { checkedTargets } from "./config.js";

/** What mlx-lm calls a kind of adapter, and the vector beside A and B that PEFT has under the other name. */
const MLX_KINDS: Partial<
  Record<KindName, { readonly type: string; readonly vector?: readonly [mlx: string, peft: string] }>
> = {
  lora: { type: "lora" },
  dora: { type: "dora", vector: ["m", "lora_magnitude_vector"] },
};

/**
 * Reads an mlx-lm adapter folder (`adapters.safetensors`, `adapter_config.json`) for a model of shape `config`. mlx-lm keeps
 * A as [in, r] and B as [r, out], and a scale instead of alpha (tuner/lora.py): alpha = scale r. Throws
 * UserError naming the key or tensor for whole weights, and layers that are not linear ones of a block.
 */
export async function readMlxAdapter(files: Files, path: string, config: ModelConfig): Promise<Adapter> {
  const configPath = await files.inside(path, "adapter_config.json");
  const json = await readObject(files, configPath);
  if (!json) throw new UserError(`${path}: adapter_config.json is missing`);
  const kind = readKind(json, configPath);
  const { scale, dropout } = readParameters(json, configPath);
  const source = await openSafetensors(files, await files.inside(path, "adapters.safetensors"));
  try {
    const names = peftNames(source, kind, path);
    const targets = adaptedTargets(names.keys());
    if (targets.length === 0) throw new UserError(`${path}: it has no tensors`);
    const tensors = new Map<string, HostTensor>();
    const modules: { layer: number; name: LinearName; r: number; alpha: number }[] = [];
    for (const [layer, name] of targets) {
      const module = modulePath(layer, name);
      const { a, b } = await readFactors(source, names, module, linearShape(config, name), path);
      tensors.set(`${module}.lora_A.weight`, a);
      tensors.set(`${module}.lora_B.weight`, b);
      const [, vector] = MLX_KINDS[kind]!.vector ?? [];
      if (vector)
        tensors.set(`${module}.${vector}`, await readVector(source, names, `${module}.${vector}`, b.shape[0]!, path));
      const [r] = a.shape as readonly [number, number];
      modules.push({ layer, name, r, alpha: scale * r });
    }
    const lora: LoraConfig = {
      ...(kind === "lora" ? {} : { kind }),
      ...patternsOf(modules),
      dropout,
      useRslora: false,
      init: "kaiming",
      ...checkedTargets(targets, config, path),
    };
    return { config: lora, tensors, base: typeof json.model === "string" ? { name: json.model } : {} };
  } finally {
    await source.close();
  }
}

function readKind(json: JsonObject, where: string): KindName {
  const type = json.fine_tune_type ?? "lora";
  const found = Object.entries(MLX_KINDS).find(([, kind]) => kind.type === type);
  if (found) return found[0] as KindName;
  const known = Object.values(MLX_KINDS).map((kind) => JSON.stringify(kind.type));
  throw new UserError(
    `${where}: fine_tune_type ${JSON.stringify(type)} is not supported (supported: ${known.join(", ")}); fuse it with mlx_lm.fuse`,
  );
}

function readParameters(json: JsonObject, where: string): { scale: number; dropout: number } {
  const parameters = (json.lora_parameters ?? {}) as JsonObject;
  const { scale, dropout = 0 } = parameters;
  if (typeof scale !== "number" || !(scale > 0) || !Number.isFinite(scale))
    throw new UserError(
      `${where}: lora_parameters.scale must be a number above 0, got ${JSON.stringify(scale) ?? "nothing"}`,
    );
  if (typeof dropout !== "number" || !(dropout >= 0 && dropout < 1))
    throw new UserError(
      `${where}: lora_parameters.dropout must be at least 0 and below 1, got ${JSON.stringify(dropout)}`,
    );
  return { scale, dropout };
}

/** PEFT's name -> mlx-lm's name of each tensor. */
function peftNames(source: TensorSource, kind: KindName, path: string): Map<string, string> {
  const { vector } = MLX_KINDS[kind]!;
  const own = new Map([["lora_a", "lora_A.weight"], ["lora_b", "lora_B.weight"], ...(vector ? [vector] : [])]);
  const names = new Map<string, string>();
  for (const name of source.tensors.keys()) {
    const [, module = "", tensor = ""] = /^(?:language_model\.)?(.+)\.(\w+)$/.exec(name) ?? [];
    const known = own.get(tensor);
    if (!parseModulePath(module) || known === undefined)
      throw new UserError(
        `${path}: the tensor ${JSON.stringify(name)} is none of a linear layer's ${[...own.keys()].join(", ")}; only adapters of the blocks' linear layers are supported`,
      );
    names.set(`${module}.${known}`, name);
  }
  for (const [name, stored] of names) {
    const module = name.replace(/\.lora_.*$/, "");
    const missing = [...own.values()].find((other) => !names.has(`${module}.${other}`));
    if (missing) throw new UserError(`${path}: ${stored} has no ${missing} beside it`);
  }
  return names;
}

/** A vector [out] of a module, by PEFT's name. */
async function readVector(
  source: TensorSource,
  names: ReadonlyMap<string, string>,
  name: string,
  out: number,
  path: string,
): Promise<HostTensor> {
  const stored = names.get(name)!;
  const { shape } = source.tensors.get(stored)!;
  if (shape.join() !== String(out))
    throw new UserError(
      `${path}: ${stored} should be [${out}] for this base, but is [${shape}]; is this another base?`,
    );
  return f32([out], await source.read(stored));
}

/** Both factors of a module, A [r, in] and B [out, r]. */
async function readFactors(
  source: TensorSource,
  names: ReadonlyMap<string, string>,
  module: string,
  [out, into]: readonly [number, number],
  path: string,
): Promise<{ a: HostTensor; b: HostTensor }> {
  const [aName, bName] = [names.get(`${module}.lora_A.weight`)!, names.get(`${module}.lora_B.weight`)!];
  const held = source.tensors.get(aName)!.shape.at(-1) ?? 0;
  const a = await transposed(source, aName, held, into, path);
  const b = await transposed(source, bName, out, held, path);
  const r = usedRank(a, b);
  return { a: ofRank(a, 0, r), b: ofRank(b, 1, r) };
}

async function transposed(
  source: TensorSource,
  mlx: string,
  rows: number,
  columns: number,
  path: string,
): Promise<HostTensor> {
  const shape = source.tensors.get(mlx)!.shape;
  if (shape.length !== 2 || shape[0] !== columns || shape[1] !== rows)
    throw new UserError(
      `${path}: ${mlx} should be [${columns},${rows}] for this base, but is [${shape}]; is this another base?`,
    );
  return f32([rows, columns], turned(await source.read(mlx), columns, rows));
}

/** Rank without what is zero in both factors at the end: filling, which does nothing and cannot be trained. At least 1. */
function usedRank(
  { shape: [held = 0, into = 0], data: a }: HostTensor,
  { shape: [out = 0], data: b }: HostTensor,
): number {
  const idle = (k: number) => {
    for (let i = 0; i < into; i++) if (a[k * into + i] !== 0) return false;
    for (let o = 0; o < out; o++) if (b[o * held + k] !== 0) return false;
    return true;
  };
  let r = held;
  while (r > 1 && idle(r - 1)) r--;
  return r;
}

/** A factor whose dimension `axis` is cut to `r`, or filled up to it with zeros. */
function ofRank({ shape, data }: HostTensor, axis: 0 | 1, r: number): HostTensor {
  const [rows, columns] = shape as readonly [number, number];
  if (shape[axis] === r) return f32([rows, columns], data as Float32Array);
  const [height, width] = axis === 0 ? [r, columns] : [rows, r];
  const values = new Float32Array(height * width);
  for (let i = 0; i < Math.min(rows, height); i++)
    values.set((data as Float32Array).subarray(i * columns, i * columns + Math.min(columns, width)), i * width);
  return f32([height, width], values);
}

/** Values [rows, columns] as [columns, rows], each times a factor. */
function turned(values: Float32Array, rows: number, columns: number, factor = 1): Float32Array {
  const result = new Float32Array(values.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) result[j * rows + i] = values[i * columns + j]! * factor;
  return result;
}

/**
 * Writes an adapter as the folder that mlx-lm's `--adapter-path` takes, whole or not at all: the reverse of `readMlxAdapter`. mlx-lm has
 * one scale and one rank for all modules: the commonest scale, and where a module's is another its B is multiplied; the largest
 * rank, and smaller ones are filled up with zeros. `inWhole` says that the base also sees: its texts' weights have a prefix there.
 */
export async function writeMlxAdapter(
  files: Files,
  path: string,
  adapter: Adapter,
  config: ModelConfig,
  { type, inWhole = false }: { readonly type: WeightDtype; readonly inWhole?: boolean },
): Promise<void> {
  const whole = wholeKeys(adapter.config);
  if (whole) throw new UserError(`mlx-lm's adapters hold no whole weights (${whole}); merge this one instead`);
  const kind = MLX_KINDS[adapter.config.kind ?? "lora"];
  if (!kind) throw new UserError(`mlx-lm has no ${kindOf(adapter.config.kind).title} adapters; merge this one instead`);
  const [vector, peft] = kind.vector ?? [];
  const modules = adaptedModules(adapter);
  const { alpha: scale } = patternsOf(modules.map((module) => ({ ...module, alpha: module.scale })));
  const rank = Math.max(...modules.map(({ r }) => r));
  const tensors = modules.flatMap(({ layer, name, a, b, ...lora }) => {
    const module = `${inWhole ? "language_model." : ""}${modulePath(layer, name)}`;
    return [
      turnedFactor(`${module}.lora_a`, ofRank(a, 0, rank), 1, type),
      turnedFactor(`${module}.lora_b`, ofRank(b, 1, rank), lora.scale / scale, type),
      ...(vector ? [hostTensor(`${module}.${vector}`, lora.tensors[peft!]!)] : []),
    ];
  });
  const json = {
    ...(adapter.base.name === undefined ? {} : { model: adapter.base.name }),
    fine_tune_type: kind.type,
    // Counted from the last one; in layers between without an adapter mlx-lm makes one of zeros.
    num_layers: config.numHiddenLayers - Math.min(...modules.map(({ layer }) => layer)),
    lora_parameters: {
      rank,
      scale,
      dropout: adapter.config.dropout,
      keys: [...new Set(modules.map(({ name }) => LINEARS[name]))],
    },
  };
  await writeFolder(files, path, async (folder) => {
    await writeSafetensors(files, join(folder, "adapters.safetensors"), tensors);
    await files.write(join(folder, "adapter_config.json"), jsonBytes(json));
  });
}

/** A factor [rows, columns] to be written as [columns, rows]. */
function turnedFactor(name: string, { shape, data }: HostTensor, factor: number, dtype: WeightDtype): TensorToWrite {
  const [rows, columns] = shape as readonly [number, number];
  const chunks = () => narrowed(name, turned(data as Float32Array, rows, columns, factor), dtype);
  return { name, dtype, shape: [columns, rows], chunks };
}
