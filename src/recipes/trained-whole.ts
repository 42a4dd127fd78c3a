import { asAdapted, type LoraConfig, type ModelConfig, savedWeights } from "../models/index.js";
import { sizeOf, UserError } from "../tensor/index.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import { planOuter, type Trainables } from "../training/layer-plan.js";
import type { TrainConfig } from "./config-schema.js";

/** Names shown of many. */
const SHOWN = 4;

/** What of the base is trained whole beside an adapter, a line each. */
export function trainedWhole(
  trainables: Trainables,
  model: ModelConfig,
  tokenizer: Pick<Tokenizer, "token">,
): string[] {
  if (trainables.kind !== "lora") return [];
  const saved = savedWeights(trainables.lora, model);
  const names = [...saved.keys()];
  const count = [...saved.values()].reduce((n, shape) => n + sizeOf(shape), 0);
  const tokens = (trainables.lora.trainableTokenIndices ?? []).map((id) => JSON.stringify(tokenizer.token(id) ?? id));
  return [
    ...(names.length > 0 ? [`trained whole, ${count.toLocaleString("en-US")} parameters: ${some(names)}`] : []),
    ...(tokens.length > 0 ? [`rows of the embedding trained for ${some(tokens)}`] : []),
  ];
}

function some(names: readonly string[]): string {
  if (names.length <= SHOWN) return names.join(", ");
  return `${names.slice(0, SHOWN - 1).join(", ")}, ${names.length - SHOWN} others, ${names.at(-1)}`;
}

/** Throws UserError for texts to be kept beside a head that is trained itself: the base's distributions are made with it. */
export function refuseKeptHead({ objective }: TrainConfig, lora: LoraConfig, model: ModelConfig): void {
  const { keep, name, teacher, topK } = objective;
  const kept = keep.data !== null || keep.generate !== null;
  if (!kept && name !== "distill") return;
  const { head } = planOuter(asAdapted(model, lora), { kind: "lora", lora });
  if (name === "distill" && head?.tokens)
    throw new UserError(
      "objective.name: distill trains no rows of single tokens of a head that is the embedding; leave lora.trainable_token_indices out",
    );
  if (name === "distill" && head && teacher === "base" && topK === null)
    throw new UserError(
      "objective.teacher: the base's final norm and head are needed as they are, and lora.modules_to_save trains them; set objective.top_k, which asks the base beforehand, or leave them out",
    );
  if (kept && head)
    throw new UserError(
      "objective.keep: the base's final norm and head are needed as they are, and lora.modules_to_save or lora.trainable_token_indices trains them; leave one of the two out",
    );
}
