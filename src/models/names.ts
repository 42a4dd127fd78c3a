import { blockPath } from "./block-path.js";
import { type ModelConfig, pathInBlock } from "./config.js";

/** Published name of a block program's weight input: ("q_proj.weight", 3) -> "model.layers.3.self_attn.q_proj.weight". */
export function weightName(input: string, layer: number): string {
  const [module, ...rest] = input.split(".") as [string, ...string[]];
  return blockPath(layer, [pathInBlock(module), ...rest].join("."));
}

/** Published name of the head's weight: the embedding's where the two are tied. */
export const headWeight = ({ tieWordEmbeddings }: ModelConfig): string =>
  tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";

/** Published names of the weights outside the blocks, by their input name. */
export function outerNames(config: ModelConfig): Readonly<Record<string, string>> {
  return {
    "embed_tokens.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "lm_head.weight": headWeight(config),
  };
}
