import { hashModel } from "../formats/base-hash.js";
import type { Files } from "../formats/files.js";
import type { StoredTensor, TensorSource } from "../formats/source.js";
import { type LlamaConfig, linearNames, weightShapes } from "../models/config.js";
import { FAMILIES } from "../models/families/index.js";
import { modulePath } from "../models/lora-config.js";
import { nearest, UserError } from "../tensor/index.js";

/** Left over from old versions; every reader recomputes them. */
const HARMLESS = /\.rotary_emb\.inv_freq$/;

/** Names that a sentence lists. */
const SHOWN = 3;

/**
 * Every weight must be there in its shape; throws UserError naming one that is not. Returns the names that are no weights of this
 * model, and a sentence about them.
 */
export function checkWeights(
  tensors: ReadonlyMap<string, StoredTensor>,
  config: LlamaConfig,
  path: string,
): { readonly ignored: string[]; readonly notes: string[] } {
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
  const ignored = [...tensors.keys()].filter((name) => !shapes.has(name) && !HARMLESS.test(name) && name !== tied);
  const more = ignored.length > SHOWN ? ` and ${ignored.length - SHOWN} more` : "";
  const kind = FAMILIES.get(config.family ?? "llama")!.architecture;
  const list = `${ignored.slice(0, SHOWN).join(", ")}${more}`;
  return { ignored, notes: ignored.length > 0 ? [`${path}: no weight of this ${kind}, so not read: ${list}`] : [] };
}

/** The type that a model's linear layers are stored in: that of the first. */
export function linearType({ config, tensors }: { config: LlamaConfig; tensors: TensorSource }): string {
  return tensors.tensors.get(`${modulePath(0, linearNames(config)[0]!)}.weight`)!.stored;
}

/** What computes the hash of a model's files when it is first asked for. */
export function hasher(files: Files, paths: readonly string[]): () => Promise<string> {
  let result: Promise<string> | undefined;
  return () => {
    result ??= hashModel(files, paths);
    return result;
  };
}
