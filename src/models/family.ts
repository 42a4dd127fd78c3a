import { UserError } from "../tensor/index.js";
import type { LayerKind, ModelConfig, RopeScaling } from "./config.js";
import type { ConfigKeys, JsonObject } from "./config-keys.js";
import type { GgufFamily } from "./gguf-family.js";

/** What every family's configuration has. */
export interface CommonShape {
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly headDim: number;
}

/** One set of rotary frequencies as config.json says it. */
export interface RopeRead {
  readonly theta: number;
  readonly scaling?: RopeScaling;
  /** Share of a head that turns. Default 1. */
  readonly partial: number;
  /** Which kind it is, and the keys that this kind does not use. */
  readonly type: string;
  readonly idle: readonly string[];
}

/** A family of models: how its configuration is read and written. Its blocks are said by the configuration itself. */
export interface ModelFamily {
  /** `model_type` in config.json. */
  readonly modelType: string;
  /** The class in `architectures`. */
  readonly architecture: string;
  /** The model of this family's texts and of pictures, whose text part is read as one of the family. Default: there is none. */
  readonly whole?: { readonly modelType: string; readonly architecture: string };
  /** Whether each kind of layer may have rotary frequencies of its own. Default false. */
  readonly ropeByLayer?: boolean;
  /** What older versions of its configuration call kinds of rotary scaling, by their names today. Default: none. */
  readonly oldRopeNames?: Readonly<Record<string, string>>;
  /** Values of missing keys where transformers' configuration class has others than Llama's. */
  readonly defaults: JsonObject;
  /** What makes this model differ from a Llama of the same sizes. Throws UserError for what is not supported. */
  read(keys: ConfigKeys, shape: CommonShape, rope: RopeRead): Partial<ModelConfig>;
  /** The keys of config.json that not every family has. */
  write(config: ModelConfig): JsonObject;
  /** How GGUF says it. */
  readonly gguf: GgufFamily;
}

const isText = (value: unknown): value is string => typeof value === "string";

/**
 * What `layer_types` says of each layer, or `otherwise` of its index: whether its attention has a window. Throws UserError for
 * a kind of layer that is neither full nor sliding.
 */
export function slidingLayers(
  keys: ConfigKeys,
  { numHiddenLayers }: CommonShape,
  otherwise: (layer: number) => boolean,
): boolean[] {
  const types = keys.list("layer_types", numHiddenLayers, isText, "names of layer kinds");
  if (!types) return Array.from({ length: numHiddenLayers }, (_, layer) => otherwise(layer));
  const other = types.find((type) => type !== "sliding_attention" && type !== "full_attention");
  if (other !== undefined)
    throw new UserError(
      `${keys.where}: layers of the kind ${JSON.stringify(other)} are not supported (supported: full_attention, sliding_attention)`,
    );
  return types.map((type) => type === "sliding_attention");
}

/** Layers that all have the window of that key, or none where it is null. */
export function windowedLayers(keys: ConfigKeys, { numHiddenLayers }: CommonShape, otherwise?: number) {
  const given = keys.get("sliding_window") === null && "sliding_window" in keys.json;
  if (given || (keys.get("sliding_window") === null && otherwise === undefined)) return {};
  const window = keys.size("sliding_window", otherwise);
  return { layers: Array.from({ length: numHiddenLayers }, (): LayerKind => ({ rope: "global", window })) };
}

/** `layer_types` of a configuration. */
export const layerTypes = ({ layers = [] }: ModelConfig): string[] =>
  layers.map(({ window }) => (window === undefined ? "full_attention" : "sliding_attention"));

/** The window of the layers that have one; null where none has. */
export const windowOf = ({ layers = [] }: ModelConfig): number | null =>
  layers.find(({ window }) => window !== undefined)?.window ?? null;
