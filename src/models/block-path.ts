/** Where something of a block is published: `model.layers.3.self_attn.q_proj`, or with what hangs on it, `.weight`. */
export type BlockPath = `model.layers.${number}.${string}`;

/** The list of all blocks. */
export const BLOCK_LIST = "model.layers";

/** The opposite of `parseBlockPath`. */
export const blockPath = (layer: number, inner: string): BlockPath => `model.layers.${layer}.${inner}`;

/** A path's block and what follows it, `self_attn.q_proj.weight`; undefined for what is outside the blocks. */
export function parseBlockPath(path: string): { readonly layer: number; readonly inner: string } | undefined {
  const [, layer, inner] = /^model\.layers\.(\d+)\.(.+)$/.exec(path) ?? [];
  return inner === undefined ? undefined : { layer: Number(layer), inner };
}

/** The part of a block's inputs in the joined graph: `layers.3.q_proj.weight`. */
export const layerPrefix = (layer: number): string => `layers.${layer}.`;

/** The block of an input of the joined graph and its name there; undefined for what is outside the blocks. */
export function parseLayerInput(name: string): { readonly layer: number; readonly input: string } | undefined {
  const [, layer, input] = /^layers\.(\d+)\.(.+)$/.exec(name) ?? [];
  return input === undefined ? undefined : { layer: Number(layer), input };
}
