import { hashModel } from "../formats/base-hash.js";
import type { Files } from "../formats/files.js";
import type { StoredTensor } from "../formats/source.js";
import { type ModelConfig, weightShapes } from "../models/config.js";
import { familyOf } from "../models/families/index.js";
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
  config: ModelConfig,
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
      throw new UserError(`${path}: the weight ${name} [${shape}] is missing${near ? ` (it has ${near})` : ""}`, {
        code: "invalid_file",
      });
    }
    if (tensor.shape.join() !== shape.join()) {
      throw new UserError(`${path}: ${name} should be [${shape}] by its configuration, but is [${tensor.shape}]`, {
        code: "invalid_file",
      });
    }
  }
  const tied = config.tieWordEmbeddings ? "lm_head.weight" : undefined;
  const ignored = [...tensors.keys()].filter((name) => !shapes.has(name) && !HARMLESS.test(name) && name !== tied);
  const more = ignored.length > SHOWN ? ` and ${ignored.length - SHOWN} more` : "";
  const kind = familyOf(config).architecture;
  const list = `${ignored.slice(0, SHOWN).join(", ")}${more}`;
  return { ignored, notes: ignored.length > 0 ? [`${path}: no weight of this ${kind}, so not read: ${list}`] : [] };
}

/** What computes the hash of a model's files when it is first asked for. */
export function hasher(files: Files, paths: readonly string[]): () => Promise<string> {
  let result: Promise<string> | undefined;
  return () => {
    result ??= hashModel(files, paths);
    return result;
  };
}
