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

/** Throws UserError where the base's distributions are to be kept or learned beside a head that is trained itself: they are made with it. */
export function refuseKeptHead({ objective }: TrainConfig, lora: LoraConfig, model: ModelConfig): void {
  const { keep, name, teacher } = objective;
  const learned = name === "distill" && teacher === "base";
  if (keep.data === null && keep.generate === null && !learned) return;
  const { head } = planOuter(asAdapted(model, lora), { kind: "lora", lora });
  if (head)
    throw new UserError(
      `${learned ? "objective.teacher" : "objective.keep"}: the base's final norm and head are needed as they are, and lora.modules_to_save or lora.trainable_token_indices trains them; leave one of the two out`,
    );
}
