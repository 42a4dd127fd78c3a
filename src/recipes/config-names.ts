import { nearest } from "../tensor/index.js";
import { configKeys, sectionOf } from "./config-keys.js";
import { trainSchema } from "./config-schema.js";

/** What other systems call our keys. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  rank: "lora.r",
  lora_r: "lora.r",
  lora_rank: "lora.r",
  lora_alpha: "lora.alpha",
  lora_dropout: "lora.dropout",
  learning_rate: "optimizer.lr",
  num_train_epochs: "epochs",
  num_warmup_steps: "schedule.warmup_steps",
  lr_scheduler: "schedule.name",
  per_device_train_batch_size: "batch_size",
  gradient_checkpointing: "checkpointing",
  enable_activation_checkpointing: "checkpointing",
  max_steps_per_epoch: "max_steps",
  model: "base",
  model_name_or_path: "base",
  dataset: "data.train",
  load_in_4bit: "base_precision",
  load_in_8bit: "base_precision",
  bnb_4bit_quant_type: "base_precision",
};

/** The key that was probably meant: the same name in another section, else the nearest one here, else anywhere. */
export function nearestKey(path: readonly PropertyKey[], name: string): string | undefined {
  if (Object.hasOwn(OTHER_NAMES, name)) return OTHER_NAMES[name];
  const all = configKeys().map((k) => k.key);
  const prefix = path.length ? `${path.join(".")}.` : "";
  const elsewhere = all.find((key) => key.slice(key.lastIndexOf(".") + 1) === name || key === name);
  if (elsewhere) return elsewhere;
  const sections = path.length ? [] : Object.entries(trainSchema.shape).flatMap(([k, s]) => (sectionOf(s) ? [k] : []));
  const here = all.filter((key) => key.startsWith(prefix) && !key.slice(prefix.length).includes("."));
  const near = nearest(name, [...here.map((key) => key.slice(prefix.length)), ...sections]);
  if (near) return prefix + near;
  const leaf = nearest(
    name,
    all.map((key) => key.slice(key.lastIndexOf(".") + 1)),
  );
  return all.find((key) => key.slice(key.lastIndexOf(".") + 1) === leaf);
}
