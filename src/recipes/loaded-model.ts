import { UserError } from "../tensor/index.js";
import type { TrainConfig } from "./config-schema.js";
import type { LoadedModel } from "./model.js";
import { refuseStages } from "./model-stages.js";

/** Throws UserError for what cannot be trained on a model that others use. */
export function refuseOtherModel(config: TrainConfig, model: LoadedModel): void {
  refuseStages(model, "a run on a loaded model trains on all of it");
  const { name, resident, basePrecision } = model;
  const { base, fullFinetune, precision, lora } = config;
  if (base !== name) throw new UserError(`base: the config says '${base}', the loaded model is '${name}'`);
  if (resident.bits)
    throw new UserError(
      `the loaded model was quantized to ${resident.bits} bits, which only generates; load it without`,
    );
  if (fullFinetune) throw new UserError("full_finetune changes the base's own weights, which others use here");
  if (lora.init === "loftq" && lora.loftqConfig.loftqIter > 1)
    throw new UserError(
      "lora.loftq_config.loftq_iter: with more than one round a run holds a base of its own, and this one is others' too; leave it out",
    );
  const other =
    (config.basePrecision !== "f32" && config.basePrecision !== basePrecision) ||
    (config.bnb4bitUseDoubleQuant && !model.bnb4bitUseDoubleQuant);
  if (other || config.baseOffload !== "none") {
    throw new UserError(
      `the loaded model is held as ${basePrecision} in memory: leave out base_precision, bnb_4bit_use_double_quant and base_offload, or load it so`,
    );
  }
  if (precision === "bf16" && resident.device.precision === "full") {
    throw new UserError("precision: the model was loaded with f32; load it with bf16, or leave precision out");
  }
}
