import { type AdapterBase, sameBase } from "../formats/base-hash.js";
import type { Adapter } from "../formats/peft/adapter.js";
import type { TensorSource } from "../formats/source.js";
import { linearNames, type ModelConfig } from "../models/config.js";
import { modulePath } from "../models/lora-config.js";
import type { OpenModel } from "./model-folder.js";

/** The type that a model's linear layers are stored in: that of the first. */
export function linearType({ config, tensors }: { config: ModelConfig; tensors: TensorSource }): string {
  return tensors.tensors.get(`${modulePath(0, linearNames(config)[0]!)}.weight`)!.stored;
}

/** How a model is named in the adapters trained on it. */
export async function adapterBase(model: OpenModel, name: string = model.path): Promise<AdapterBase> {
  const { inWhole } = model;
  return { name, sha256: await model.hash(), stored: linearType(model), ...(inWhole ? { inWhole } : {}) };
}

/** Whether an adapter was trained on this very model; "unknown" when it does not say. */
export async function compareBase(adapter: Adapter, model: OpenModel): Promise<"same" | "different" | "unknown"> {
  if (!adapter.base.sha256) return "unknown";
  const asked = { name: model.path, sha256: await model.hash() };
  return (await sameBase(adapter.base, asked)) ? "same" : "different";
}
