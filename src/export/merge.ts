import { foldAdapter, foldBias, vectorsOf } from "../adapters/index.js";
import { type Files, join, writeFolder } from "../formats/files.js";
import { configToHf } from "../formats/hf/config.js";
import { type JsonObject, jsonBytes } from "../formats/json.js";
import { type AdaptedModule, type Adapter, adaptedModule, adaptedModules } from "../formats/peft/adapter.js";
import { narrowed, type TensorToWrite, type WeightDtype, writeWeights } from "../formats/safetensors-writer.js";
import { writeTokenizer } from "../formats/tokenizer-files.js";
import { hasBias, type ModelConfig, weightShapes } from "../models/config.js";
import { modulePath } from "../models/lora-config.js";
import { EMBEDDING, TOKEN_ROWS } from "../models/whole-weights.js";
import { UserError } from "../tensor/index.js";
import type { TokenizerFiles } from "../tokenizers/files.js";
import { compareBase } from "../weights/adapter-base.js";
import { openAsAdapted } from "../weights/as-adapted.js";
import type { OpenModel } from "../weights/model-folder.js";

export interface MergeOptions {
  /**
   * The dtype to write. Default: each tensor keeps its own; a GGUF base's become f16, whose 10-bit fraction is the scales'
   * own precision, so it adds the least error of the 16-bit types.
   */
  readonly dtype?: WeightDtype;
  /** Bytes after which another file is begun. Default 5e9. */
  readonly maxShardBytes?: number;
  readonly onTensor?: (done: number, total: number, name: string) => void;
}

const TORCH_DTYPES: Readonly<Record<WeightDtype, string>> = { f32: "float32", f16: "float16", bf16: "bfloat16" };

/**
 * Writes `base` with `adapter` merged into it (LoRA: W + scale B A) as a Hugging Face folder that transformers loads, whole or
 * not at all; without an adapter it converts the base. Streams tensor by tensor: memory is one fp32 tensor and one chunk.
 * Throws UserError when `output` holds something already, or the adapter belongs to another base.
 */
export async function mergeModel(
  files: Files,
  from: OpenModel,
  adapter: Adapter | undefined,
  output: string,
  options: MergeOptions = {},
): Promise<void> {
  const base = adapter ? openAsAdapted(from, adapter.config) : from;
  refuseLostBiases(adapter, base.config);
  if (adapter && (await compareBase(adapter, base)) === "different") {
    const trained = [adapter.base.name, adapter.base.stored].filter(Boolean).join(", ");
    throw new UserError(`${base.path}: this adapter was trained on another base (${trained}); merge it into that one`, {
      code: "wrong_base",
    });
  }
  const names = [...weightShapes(base.config).keys()];
  let done = 0;
  const tensors = names.map((name) =>
    mergedTensor(base, adapter, name, options.dtype, () => options.onTensor?.(++done, names.length, name)),
  );
  const dtype = tensors.find(({ name }) => name.endsWith("proj.weight"))!.dtype as WeightDtype;
  await writeModel(files, output, {
    config: hfConfig(base, dtype),
    generation: base.generationJson ?? generationConfig(base),
    tokenizer: base.tokenizer,
    tensors,
    ...(options.maxShardBytes === undefined ? {} : { maxShardBytes: options.maxShardBytes }),
  });
}

/** A model to be written: parsed config.json and generation_config.json, tokenizer, and weights in the published order. */
export interface ModelToWrite {
  readonly config: JsonObject;
  readonly generation?: JsonObject;
  readonly tokenizer: TokenizerFiles;
  readonly tensors: readonly TensorToWrite[];
  readonly maxShardBytes?: number;
}

/** Writes a Hugging Face model folder, whole or not at all. Throws UserError when `output` holds something already. */
export async function writeModel(files: Files, output: string, model: ModelToWrite): Promise<void> {
  const there = await files.stat(output);
  if (there && (there.kind === "file" || (await files.list(output)).length > 0)) {
    throw new UserError(`${output}: something is there already; choose another folder, or remove it first`);
  }
  await writeFolder(files, output, async (folder) => {
    await writeWeights(files, folder, model.tensors, model.maxShardBytes);
    await files.write(join(folder, "config.json"), jsonBytes(model.config));
    if (model.generation) await files.write(join(folder, "generation_config.json"), jsonBytes(model.generation));
    await writeTokenizer(files, folder, model.tokenizer);
  });
}

/** Whether a weight is another with an adapter merged in. */
const isChanged = (name: string, adapter: Adapter): boolean =>
  holdsWeight(name, adapter) || (adaptedModule(adapter, name) ?? shifted(name, adapter)) !== undefined;

/** The adapted layer to whose bias of this name an adapter adds. */
function shifted(name: string, adapter: Adapter): AdaptedModule | undefined {
  if (!name.endsWith(".bias") || !vectorsOf(adapter.config.kind).includes("bias")) return undefined;
  return adaptedModule(adapter, name.replace(/\.bias$/, ""));
}

/** What an adapter adds to what a layer gives [out]; undefined: nothing. */
export async function biasOf(adapter: Adapter, module: string): Promise<Float32Array | undefined> {
  const own = shifted(`${module}.bias`, adapter);
  if (!own) return undefined;
  const bias = new Float32Array(own.out);
  await foldBias(bias, own);
  return bias;
}

/** A layer that an adapter shifts and that has no bias to hold that when merged; undefined: there is none. */
export function lostBias(adapter: Adapter, config: ModelConfig): AdaptedModule | undefined {
  if (!vectorsOf(adapter.config.kind).includes("bias")) return undefined;
  return adaptedModules(adapter).find(({ name }) => !hasBias(config, name));
}

/** Throws UserError for an adapter that cannot be merged without losing what it shifts a layer by. */
export function refuseLostBiases(adapter: Adapter | undefined, config: ModelConfig): void {
  const lost = adapter && lostBias(adapter, config);
  if (lost)
    throw new UserError(
      `${modulePath(lost.layer, lost.name)} has no bias in this model, so what lora_bias has learnt cannot be merged into it: use the adapter unmerged, as PEFT does`,
    );
}

/** Whether an adapter holds a weight whole, or rows of it. */
export const holdsWeight = (name: string, { tensors }: Adapter): boolean =>
  tensors.has(name) || (name === EMBEDDING && tensors.has(TOKEN_ROWS));

/** Puts what an adapter holds of the weight `name` in the place of its fp32 values. */
export function putWeight(name: string, weight: Float32Array, { tensors, config }: Adapter): void {
  const whole = tensors.get(name);
  if (whole) weight.set(whole.data as Float32Array);
  const rows = name === EMBEDDING ? tensors.get(TOKEN_ROWS) : undefined;
  if (!rows) return;
  const [, width] = rows.shape as [number, number];
  for (const [i, id] of config.trainableTokenIndices!.entries())
    weight.set((rows.data as Float32Array).subarray(i * width, (i + 1) * width), id * width);
}

/** Folds an adapter's share of the weight `name`, if it has one, into its fp32 values in place. */
export async function mergeWeight(name: string, weight: Float32Array, adapter: Adapter): Promise<void> {
  putWeight(name, weight, adapter);
  const module = adaptedModule(adapter, name);
  if (module) await foldAdapter(weight, module);
  const layer = shifted(name, adapter);
  if (layer) await foldBias(weight, layer);
}

function mergedTensor(
  base: OpenModel,
  adapter: Adapter | undefined,
  name: string,
  asked: WeightDtype | undefined,
  done: () => void,
): TensorToWrite {
  const { stored, shape } = base.tensors.tensors.get(name)!;
  const own = base.kind === "hf" && (stored === "f16" || stored === "bf16" || stored === "f32") ? stored : "f16";
  const dtype = asked ?? own;
  const adapted = adapter !== undefined && isChanged(name, adapter);
  return {
    name,
    dtype,
    shape,
    async *chunks() {
      if (!adapted && stored === dtype) yield await base.tensors.readRaw(name);
      else {
        const values = await base.tensors.read(name);
        if (adapter) await mergeWeight(name, values, adapter);
        yield* narrowed(name, values, dtype);
      }
      done();
    },
  };
}

/** config.json of a model whose weights are written in `dtype`: its own, as far as it has one. */
export function hfConfig(base: OpenModel, dtype: WeightDtype): JsonObject {
  const { configJson: json, config } = base;
  const torchDtype = TORCH_DTYPES[dtype];
  if (json) {
    const key = "dtype" in json ? "dtype" : "torch_dtype";
    const { _name_or_path: _, ...rest } = json;
    return { ...rest, [key]: torchDtype, tie_word_embeddings: config.tieWordEmbeddings };
  }
  return configToHf(config, torchDtype, generationConfig(base));
}

/** generation_config.json of a model that has none. */
export function generationConfig({ generationConfig: { eosIds, bosId } }: OpenModel): JsonObject {
  return {
    ...(bosId === undefined ? {} : { bos_token_id: bosId }),
    ...(eosIds.length === 0 ? {} : { eos_token_id: eosIds.length === 1 ? eosIds[0] : [...eosIds] }),
  };
}
