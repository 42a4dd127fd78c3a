import type { Files } from "../formats/files.js";
import { configToHf } from "../formats/hf/config.js";
import { hostTensor } from "../formats/safetensors-writer.js";
import type { HostTensor } from "../tensor/index.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";
import { writeModel } from "./merge.js";
import type { Reopened } from "./targets/target.js";

/** Writes a fully fine-tuned model as a Hugging Face folder in fp32; an earlier one of that name is replaced. */
export async function writeWholeModel(
  files: Files,
  folder: string,
  base: OpenModel,
  weights: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  const { _name_or_path: _, torch_dtype: __, dtype: ___, ...config } = base.configJson ?? {};
  const { eosIds, bosId } = base.generationConfig;
  const special = {
    ...(bosId === undefined ? {} : { bos_token_id: bosId }),
    ...(eosIds.length === 0 ? {} : { eos_token_id: eosIds.length === 1 ? eosIds[0] : eosIds }),
  };
  await files.remove(folder);
  await writeModel(files, folder, {
    config: base.configJson
      ? { ...config, torch_dtype: "float32", tie_word_embeddings: base.config.tieWordEmbeddings }
      : configToHf(base.config, "float32", special),
    generation: base.generationJson ?? special,
    tokenizer: base.tokenizer,
    tensors: [...weights].map(([name, tensor]) => hostTensor(name, tensor)),
  });
}

/** Opens a whole model that was written, with its tokenizer. */
export async function reopenModel(files: Files, path: string): Promise<Reopened> {
  const model = await openModel(files, path);
  return { path, model, tokenizer: model.tokenizer };
}
