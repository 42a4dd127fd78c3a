import type { Shape } from "../tensor/index.js";
import { BLOCK_LIST } from "./block-path.js";
import { type ModelConfig, weightShapes } from "./config.js";

/** What an adapter holds beside updates of linear layers. */
export interface WholeWeights {
  /** PEFT's `modules_to_save`: ends of the paths of modules whose own weights are trained and saved whole. */
  readonly modulesToSave?: readonly string[];
  /** PEFT's `trainable_token_indices`: tokens whose rows of the embedding are trained; a tied head has the same rows. */
  readonly trainableTokenIndices?: readonly number[];
}

export const EMBEDDING = "model.embed_tokens.weight";
export const HEAD = "lm_head.weight";
/** The trained rows of the embedding [tokens, D], in the order of their tokens, as PEFT names them. */
export const TOKEN_ROWS = "model.embed_tokens.token_adapter.trainable_tokens_delta";

/** What is no module of its own: everything, or the list of blocks. */
const NO_MODULES: readonly string[] = ["model", BLOCK_LIST];

/** The modules that a weight is in, from its own outwards. */
export function modulesOf(weight: string): string[] {
  const parts = weight.split(".");
  const paths = parts.map((_, i) => parts.slice(0, parts.length - 1 - i).join("."));
  return paths.filter((path) => path !== "" && !NO_MODULES.includes(path));
}

/**
 * The weights that are trained whole, by published name, in the published order. A module is meant where its path ends in an item, with
 * or without a dot before it (peft/utils/other.py, `_set_trainable`): `norm` means `input_layernorm` too. Of a tied head and
 * embedding either may be meant: each is then a weight of its own.
 */
export function savedWeights({ modulesToSave = [] }: WholeWeights, model: ModelConfig): Map<string, Shape> {
  if (modulesToSave.length === 0) return new Map();
  const isMeant = (path: string) => modulesToSave.some((item) => path.endsWith(item));
  const all = weightShapes({ ...model, tieWordEmbeddings: false });
  return new Map([...all].filter(([name]) => modulesOf(name).some(isMeant)));
}

/** Everything that an adapter holds beside updates: name -> shape. */
export function wholeShapes(whole: WholeWeights, model: ModelConfig): Map<string, Shape> {
  const shapes = savedWeights(whole, model);
  const { trainableTokenIndices: tokens } = whole;
  return tokens ? shapes.set(TOKEN_ROWS, [tokens.length, model.hiddenSize]) : shapes;
}

/** Whether an adapter holds any. */
export const holdsWhole = ({ modulesToSave, trainableTokenIndices }: WholeWeights): boolean =>
  modulesToSave !== undefined || trainableTokenIndices !== undefined;

/** The model as an adapter has it: a tied head is one of its own where the adapter holds the head or the embedding whole. */
export function asAdapted(model: ModelConfig, whole: WholeWeights): ModelConfig {
  if (!model.tieWordEmbeddings) return model;
  const saved = savedWeights(whole, model);
  return saved.has(EMBEDDING) || saved.has(HEAD) ? { ...model, tieWordEmbeddings: false } : model;
}

/** The base's weight of a name: where only the adapter tells the head from the embedding, the head is the embedding. */
export const baseWeight = <T>(weights: { get(name: string): T | undefined }, name: string): T | undefined =>
  weights.get(name) ?? (name === HEAD ? weights.get(EMBEDDING) : undefined);
