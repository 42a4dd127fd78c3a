import type { Files } from "../formats/files.js";
import { readGgufConfig } from "../formats/gguf/config.js";
import { ggufNotes } from "../formats/gguf/notes.js";
import { openGgufParts } from "../formats/gguf/parts.js";
import { readRopeTensors } from "../formats/gguf/rope.js";
import { ggufTensors } from "../formats/gguf/tensors.js";
import { tokenizerFromGguf } from "../formats/gguf/tokenizer.js";
import { checkWeights, hasher } from "./model-checks.js";
import type { OpenModel } from "./model-folder.js";

/** Opens a GGUF model; of one that is split, any part. Throws UserError naming the key, tensor or part that is wrong. */
export async function openGguf(files: Files, path: string): Promise<OpenModel> {
  const gguf = await openGgufParts(files, path);
  try {
    const { config, used } = readGgufConfig(gguf, path, await readRopeTensors(gguf));
    const tensors = ggufTensors(gguf, config);
    const { ignored, notes } = checkWeights(tensors.tensors, config, path);
    const id = (name: string) => gguf.metadata.get(`tokenizer.ggml.${name}_token_id`);
    const ends = [id("eos"), id("eot"), id("eom")].filter((value) => typeof value === "number");
    const bosId = id("bos");
    return {
      path,
      kind: "gguf",
      config,
      tensors,
      tokenizer: tokenizerFromGguf(gguf.metadata, path),
      generationConfig: { eosIds: [...new Set(ends)], ...(typeof bosId === "number" ? { bosId } : {}) },
      ignored,
      notes: [...ggufNotes(gguf.metadata, used, path), ...notes],
      hash: hasher(
        files,
        gguf.files.map((file) => file.path),
      ),
      close: () => tensors.close(),
    };
  } catch (error) {
    await gguf.close();
    throw error;
  }
}
