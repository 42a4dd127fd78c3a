import type { ModelConfig } from "../../models/index.js";
import { codecOf } from "../../tensor/codecs/quants.js";
import { UserError } from "../../tensor/index.js";
import type { TensorSource } from "../source.js";
import { type PlacedTensor, tensorSource } from "../tensor-reader.js";
import { hfName, normOffset, rowOrder } from "./names.js";
import type { OpenGguf } from "./parts.js";
import { GGML_TYPES } from "./reader.js";
import { isRopeTensor } from "./rope.js";

/** ggml's types that can be read. */
const READABLE = Object.values(GGML_TYPES)
  .filter((type) => codecOf(type))
  .join(", ");

/** A GGUF's tensors under Hugging Face's names, in its layout and with its values (q and k rows, norms that are 1 + weight). */
export function ggufTensors({ files, tensors }: OpenGguf, config: ModelConfig): TensorSource {
  const placed = new Map<string, PlacedTensor>();
  for (const tensor of tensors.values()) {
    if (isRopeTensor(tensor.name)) continue;
    const { shape, offset, bytes, file, type: stored } = tensor;
    const name = hfName(tensor.name, config);
    if (codecOf(stored) === undefined) {
      throw new UserError(
        `${file.path}: tensor ${tensor.name} is stored as ${stored}, which is not supported; use a file in ${READABLE}`,
        { code: "invalid_file" },
      );
    }
    const above = normOffset(name, shape, config);
    if (above !== 0 && stored !== "f32")
      throw new UserError(
        `${file.path}: tensor ${tensor.name} is stored as ${stored}; norms of this model must be f32`,
        { code: "invalid_file" },
      );
    const rowTo = rowOrder(name, shape[0]!, config);
    const differs = { ...(rowTo ? { rowTo } : {}), ...(above === 0 ? {} : { above }) };
    placed.set(name, { name, shape, stored, bytes, file, offset, ...differs });
  }
  return tensorSource("gguf", files, placed);
}
