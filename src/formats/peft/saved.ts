import {
  EMBEDDING,
  HEAD,
  type ModelConfig,
  modulesOf,
  savedWeights,
  type Target,
  type WholeWeights,
  weightShapes,
} from "../../models/index.js";
import { modulePath } from "../../models/lora-config.js";
import { nearest, UserError } from "../../tensor/index.js";

/**
 * Targets without those in a module of PEFT's `modules_to_save`, which never carry an adapter: an item that is whole parts of their paths
 * (peft/tuners/tuners_utils.py, `check_target_module_exists`).
 */
export function withoutSaved(targets: readonly Target[], items: readonly string[] = []): Target[] {
  const inside = (path: string) => items.some((item) => `.${path}.`.includes(`.${item}.`));
  return targets.filter((target) => !inside(modulePath(...target)));
}

/** Throws UserError, beginning with `where`, for an item of `modules_to_save` that means no module with weights. */
export function refuseUnknownModules(where: string, items: readonly string[], model: ModelConfig): void {
  for (const item of items) {
    if (savedWeights({ modulesToSave: [item] }, model).size > 0) continue;
    const modules = [...weightShapes({ ...model, tieWordEmbeddings: false }).keys()].flatMap(modulesOf);
    const names = [...new Set(modules.map((path) => path.replace(/^.*\./, "")))].filter((name) => !/^\d+$/.test(name));
    const near = nearest(item, names);
    throw new UserError(
      `${where}: ${JSON.stringify(item)} ends the path of no module with weights; this model has ${names.join(", ")}${near ? ` (did you mean ${near}?)` : ""}`,
    );
  }
}

/** Throws UserError, beginning with `where`, for what cannot be trained whole, or not together. */
export function checkWhole(where: string, whole: WholeWeights, targets: readonly Target[], model: ModelConfig): void {
  const { trainableTokenIndices: tokens } = whole;
  const saved = savedWeights(whole, model);
  const both = targets.map((target) => modulePath(...target)).find((path) => saved.has(`${path}.weight`));
  if (both)
    throw new UserError(
      `${where}.modules_to_save: ${both} is to be trained whole and to carry an adapter, of which PEFT takes one; name it in whole parts of its path, or exclude it`,
    );
  if (!tokens) return;
  const key = `${where}.trainable_token_indices`;
  const outside = tokens.find((id) => id >= model.vocabSize);
  if (outside !== undefined)
    throw new UserError(`${key}: token ${outside} is not there; this model has tokens 0 to ${model.vocabSize - 1}`);
  const twice = tokens.find((id, i) => tokens.indexOf(id) < i);
  if (twice !== undefined) throw new UserError(`${key}: token ${twice} is named twice`);
  const whose = saved.has(EMBEDDING)
    ? "the embedding"
    : model.tieWordEmbeddings && saved.has(HEAD)
      ? "the tied head"
      : undefined;
  if (whose)
    throw new UserError(`${key}: modules_to_save trains ${whose} whole, its rows among it; leave one of the two out`);
}
