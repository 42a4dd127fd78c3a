import { UserError } from "../../tensor/index.js";
import { type Files, join } from "../files.js";
import { readObject } from "../json.js";
import { openSafetensors } from "../safetensors.js";
import type { StoredTensor, TensorSource } from "../source.js";

/** Files that hold pickled objects. */
export const PICKLES = /\.(bin|pt|pth|ckpt|pkl)$/;

/** Why pickle files are refused, and the way out. */
export function pickleError(path: string): UserError {
  return new UserError(
    `${path}: pickle checkpoints (.bin, .pt) can run any code when they are read, so they are refused; convert it where you trust it: ` +
      `python -c "from transformers import AutoModelForCausalLM as M; M.from_pretrained('IN').save_pretrained('OUT', safe_serialization=True)"`,
  );
}

interface HfWeights {
  readonly tensors: TensorSource;
  readonly weightFiles: string[];
  /** What of the folder's weights is not read. */
  readonly notes: readonly string[];
}

const WHOLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Opens a folder's weights: one safetensors file, or the shards of an index. Throws UserError naming what is missing or damaged. */
export async function openWeights(files: Files, path: string, names: readonly string[]): Promise<HfWeights> {
  if (names.includes(WHOLE)) {
    const weights = await files.inside(path, WHOLE);
    const notes = names.includes(INDEX) ? [`${path}: ${WHOLE} is read, ${INDEX} and its shards are not`] : [];
    return { tensors: await openSafetensors(files, weights), weightFiles: [weights], notes };
  }
  if (names.includes(INDEX)) return openShards(files, path);
  if (names.some((name) => PICKLES.test(name))) throw pickleError(path);
  throw new UserError(`${path}: neither ${WHOLE} nor ${INDEX} is in this folder`);
}

async function openShards(files: Files, path: string): Promise<HfWeights> {
  const indexPath = await files.inside(path, INDEX);
  const map = (await readObject(files, indexPath))?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map))
    throw new UserError(`${indexPath}: weight_map must say which file each tensor is in, got ${JSON.stringify(map)}`);
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
        if (!(await files.stat(shardPath)))
          throw new UserError(`${shardPath}: this shard is missing, though ${INDEX} names it; fetch the model again`);
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
    notes: [],
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
