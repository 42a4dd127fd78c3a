import type { Files } from "../formats/files.js";
import { ggufName, hfName, rowOrder } from "../formats/gguf/names.js";
import { type GgufTensor, readGguf } from "../formats/gguf/reader.js";
import { type GgufField, type GgufTensorToWrite, writeGguf } from "../formats/gguf/writer.js";
import {
  type Adapter,
  adaptedModule,
  adaptedModules,
  adaptedTargets,
  refuseMoreThanFactors,
} from "../formats/peft/adapter.js";
import { checkedTargets } from "../formats/peft/config.js";
import { familyOf, linearShape, type ModelConfig } from "../models/index.js";
import { type LoraConfig, modulePath, parseModulePath, patternsOf } from "../models/lora-config.js";
import { codecOf } from "../tensor/codecs/quants.js";
import { f32, type HostTensor, UserError } from "../tensor/index.js";
import { encodedRows } from "./gguf.js";

/** Types that an adapter's factors are written in: rows of B are r wide, too short for blocks. */
export type LoraGgufType = "f32" | "f16" | "bf16";

const FILE_TYPES: Readonly<Record<LoraGgufType, number>> = { f32: 0, f16: 1, bf16: 32 };

/**
 * Writes an adapter as the GGUF that llama.cpp's `--lora` takes (its convert_lora_to_gguf.py), whole or not at all. llama.cpp
 * scales by alpha / r with one alpha for all modules, each at its own rank, so alpha is written as the commonest of scale
 * times r, and where a module's is another (rsLoRA with patterns) its B is multiplied; rows of q's and k's B are in the order
 * of the base's GGUF. Throws UserError for a kind of adapter that the file cannot hold.
 */
export async function exportGgufLora(
  files: Files,
  adapter: Adapter,
  config: ModelConfig,
  path: string,
  options: { readonly type: LoraGgufType; readonly name: string },
): Promise<void> {
  const { type, name } = options;
  refuseMoreThanFactors(adapter, "a LoRA GGUF");
  const { alpha } = patternsOf(
    adaptedModules(adapter).map((module) => ({ ...module, alpha: module.scale * module.r })),
  );
  const metadata = new Map<string, GgufField>([
    ["general.architecture", ["string", familyOf(config).gguf.architecture]],
    ["general.type", ["string", "adapter"]],
    ["general.name", ["string", name]],
    ["general.file_type", ["u32", FILE_TYPES[type]]],
    ["adapter.type", ["string", "lora"]],
    ["adapter.lora.alpha", ["f32", alpha]],
  ]);
  const tensors = [...adapter.tensors].map(([key, { shape, data }]): GgufTensorToWrite => {
    const [module, factor] = key.split(/\.lora_(?=[AB]\.weight$)/) as [string, "A.weight" | "B.weight"];
    const weight = `${module}.weight`;
    const { r, scale } = adaptedModule(adapter, module)!;
    const values = factor === "B.weight" ? times(data as Float32Array, (scale * r) / alpha) : (data as Float32Array);
    return {
      name: `${ggufName(weight, config)}.lora_${factor === "A.weight" ? "a" : "b"}`,
      shape,
      type,
      // Only B's rows are the weight's rows; A's name is none that is permuted.
      chunks: () => encodedRows(factor === "B.weight" ? weight : key, values, shape, type, config),
    };
  });
  await writeGguf(files, path, metadata, tensors);
}

const times = (values: Float32Array, factor: number): Float32Array =>
  factor === 1 ? values : values.map((x) => x * factor);

/**
 * Reads a llama.cpp LoRA GGUF for a model of shape `config`: the reverse of `exportGgufLora`. Throws UserError naming the
 * key or tensor for another architecture or adapter type, and tensors that are no linear layer's factors.
 */
export async function readGgufLora(files: Files, path: string, config: ModelConfig): Promise<Adapter> {
  const file = await files.open(path);
  try {
    const gguf = await readGguf(file);
    for (const [key, expected] of [
      ["general.type", "adapter"],
      ["adapter.type", "lora"],
      ["general.architecture", familyOf(config).gguf.architecture],
    ] as const) {
      const came = gguf.metadata.get(key);
      if (came !== expected)
        throw new UserError(`${path}: ${key} should be "${expected}", but is ${JSON.stringify(came)}`);
    }
    const alpha = gguf.metadata.get("adapter.lora.alpha");
    if (typeof alpha !== "number" || !(alpha > 0) || !Number.isFinite(alpha))
      throw new UserError(`${path}: adapter.lora.alpha must be a number above 0, got ${alpha}`);
    const found = new Map<string, GgufTensor>();
    for (const tensor of gguf.tensors.values()) found.set(factorName(tensor.name, config, path), tensor);
    const lora = configOf(found, alpha, config, path);
    const tensors = new Map<string, HostTensor>();
    for (const [name, shape] of factorShapes(found, config, path)) {
      const tensor = found.get(name)!;
      const bytes = new Uint8Array(tensor.bytes);
      await file.read(tensor.offset, bytes);
      const values = new Float32Array(shape[0] * shape[1]);
      const codec = codecOf(tensor.type);
      if (!codec) throw new UserError(`${path}: ${tensor.name} is ${tensor.type}, which cannot be read`);
      codec.decode(bytes, 0, values, 0, values.length / codec.block);
      tensors.set(name, f32(shape, inHfOrder(name, values, shape, config)));
    }
    return { config: lora, tensors, base: {} };
  } finally {
    await file.close();
  }
}

function factorName(name: string, config: ModelConfig, path: string): string {
  const [, weight, factor] = /^(.+)\.lora_([ab])$/.exec(name) ?? [];
  const module = weight === undefined ? "" : hfName(weight, config).replace(/\.weight$/, "");
  if (parseModulePath(module)) return `${module}.lora_${factor!.toUpperCase()}.weight`;
  throw new UserError(
    `${path}: the tensor ${JSON.stringify(name)} is no factor of a block's linear layer; adapters of other layers are not supported`,
  );
}

function configOf(
  found: ReadonlyMap<string, GgufTensor>,
  alpha: number,
  config: ModelConfig,
  path: string,
): LoraConfig {
  const targets = adaptedTargets(found.keys());
  if (targets.length === 0) throw new UserError(`${path}: it has no lora_a tensors`);
  const modules = targets.map(([layer, name]) => {
    const r = found.get(`${modulePath(layer, name)}.lora_A.weight`)!.shape[0] ?? 0;
    return { layer, name, r, alpha };
  });
  return {
    ...patternsOf(modules),
    dropout: 0,
    useRslora: false,
    init: "kaiming",
    ...checkedTargets(targets, config, path),
  };
}

function factorShapes(
  found: ReadonlyMap<string, GgufTensor>,
  config: ModelConfig,
  path: string,
): Map<string, readonly [number, number]> {
  const shapes = new Map<string, readonly [number, number]>();
  for (const [layer, linear] of adaptedTargets(found.keys())) {
    const [out, into] = linearShape(config, linear);
    const module = modulePath(layer, linear);
    const r = found.get(`${module}.lora_A.weight`)!.shape[0] ?? 0;
    shapes.set(`${module}.lora_A.weight`, [r, into]);
    shapes.set(`${module}.lora_B.weight`, [out, r]);
  }
  for (const [name, shape] of shapes) {
    const came = found.get(name)?.shape.join();
    if (came !== shape.join())
      throw new UserError(
        `${path}: ${name} should be [${shape}] for this base, but is ${came ? `[${came}]` : "missing"}`,
      );
  }
  const stray = [...found.keys()].find((name) => !shapes.has(name));
  if (stray) throw new UserError(`${path}: ${stray} has no lora_a beside it`);
  return shapes;
}

function inHfOrder(
  name: string,
  values: Float32Array,
  [rows, width]: readonly [number, number],
  config: ModelConfig,
): Float32Array {
  const rowTo = name.endsWith(".lora_B.weight")
    ? rowOrder(name.replace(".lora_B.weight", ".weight"), rows, config)
    : undefined;
  if (!rowTo) return values;
  const ordered = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    ordered.set(values.subarray(row * width, (row + 1) * width), rowTo(row) * width);
  }
  return ordered;
}
