import { linearAt, linearShape, type ModelConfig } from "../../models/config.js";
import { type LoraConfig, modulePath, patternsOf } from "../../models/lora-config.js";
import { f32, type HostTensor, UserError } from "../../tensor/index.js";
import type { Files } from "../files.js";
import { type JsonObject, readObject } from "../json.js";
import { openSafetensors } from "../safetensors.js";
import type { TensorSource } from "../source.js";
import { type Adapter, adaptedTargets } from "./adapter.js";
import { checkedTargets } from "./config.js";

/**
 * Reads an mlx-lm adapter folder (`adapters.safetensors`, `adapter_config.json`) for a model of shape `config`. mlx-lm keeps
 * A as [in, r] and B as [r, out], and a scale instead of alpha (tuner/lora.py): alpha = scale r. Throws
 * UserError naming the key or tensor for DoRA, whole weights, and layers that are not linear ones of a block.
 */
export async function readMlxAdapter(files: Files, path: string, config: ModelConfig): Promise<Adapter> {
  const configPath = await files.inside(path, "adapter_config.json");
  const json = await readObject(files, configPath);
  if (!json) throw new UserError(`${path}: adapter_config.json is missing`);
  const { scale, dropout } = readParameters(json, configPath);
  const source = await openSafetensors(files, await files.inside(path, "adapters.safetensors"));
  try {
    const names = peftNames(source, path);
    const targets = adaptedTargets(names.keys());
    if (targets.length === 0) throw new UserError(`${path}: it has no tensors`);
    const modules = targets.map(([layer, name]) => {
      const r = source.tensors.get(names.get(`${modulePath(layer, name)}.lora_A.weight`)!)!.shape.at(-1) ?? 0;
      return { layer, name, r, alpha: scale * r };
    });
    const tensors = new Map<string, HostTensor>();
    for (const { layer, name: linear, r } of modules) {
      const [out, into] = linearShape(config, linear);
      const module = modulePath(layer, linear);
      for (const [factor, rows, columns] of [
        ["A", r, into],
        ["B", out, r],
      ] as const) {
        const name = `${module}.lora_${factor}.weight`;
        tensors.set(name, await transposed(source, names.get(name)!, rows, columns, path));
      }
    }
    const lora: LoraConfig = {
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

function readParameters(json: JsonObject, where: string): { scale: number; dropout: number } {
  const type = json.fine_tune_type ?? "lora";
  if (type !== "lora")
    throw new UserError(
      `${where}: fine_tune_type ${JSON.stringify(type)} is not supported (supported: "lora"); fuse it with mlx_lm.fuse`,
    );
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

/** PEFT's name -> mlx-lm's name of each factor. */
function peftNames(source: TensorSource, path: string): Map<string, string> {
  const names = new Map<string, string>();
  for (const name of source.tensors.keys()) {
    const [, module, inner, factor] = /^(model\.layers\.\d+\.(.+))\.lora_([ab])$/.exec(name) ?? [];
    if (!linearAt(inner)) {
      const why = name.endsWith(".m")
        ? "; DoRA is not supported"
        : "; only adapters of the blocks' linear layers are supported";
      throw new UserError(`${path}: the tensor ${JSON.stringify(name)} is no factor of a linear layer${why}`);
    }
    names.set(`${module}.lora_${factor!.toUpperCase()}.weight`, name);
  }
  const lonely = [...names.keys()].find(
    (name) => !names.has(name.replace(/lora_[AB]/, (f) => (f === "lora_A" ? "lora_B" : "lora_A"))),
  );
  if (lonely) throw new UserError(`${path}: ${names.get(lonely)} has no other factor beside it`);
  return names;
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
  const from = await source.read(mlx);
  const values = new Float32Array(from.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) values[i * columns + j] = from[j * rows + i]!;
  return f32([rows, columns], values);
}
