import { type LayerKind, type LinearName, type ModelConfig, type RopeScaling, SEPARATE } from "./config.js";
import type { CommonShape } from "./family.js";
import type { GgufKeys } from "./gguf-keys.js";

/** Metadata with its types, keys without the architecture's name in front. */
export type GgufFields = Readonly<
  Record<
    string,
    readonly ["u32" | "f32", number] | readonly ["string", string] | readonly ["bool[]", readonly boolean[]]
  >
>;

/**
 * A family in GGUF. `read` says what llama.cpp computes for the keys that are there, so a configuration that does not come back
 * as it was written is one that llama.cpp cannot run.
 */
export interface GgufFamily {
  /** `general.architecture`. */
  readonly architecture: string;
  /** Whether each head's rows of q and k lie as pairs that turn (llama.cpp's "normal" rope). Default false: in halves. */
  readonly permuted?: boolean;
  /** The linear layers whose biases llama.cpp reads, where they are there. */
  readonly biases: readonly LinearName[];
  /** The stretchings of rotary frequencies that llama.cpp applies. */
  readonly scalings: readonly RopeScaling["type"][];
  /** A head that is always the embedding, or never. Default: the embedding where the file has none. */
  readonly head?: "tied" | "own";
  /** Heads are hiddenSize / numAttentionHeads wide. Default false: `attention.key_length` says how wide. */
  readonly evenHeads?: boolean;
  /** Only a part of a head may turn. Default false. */
  readonly partialRotary?: boolean;
  /** What makes this model differ from a Llama of the same sizes. Throws UserError for what is not supported. */
  read(keys: GgufKeys, shape: CommonShape): Partial<ModelConfig>;
  /** The keys that not every architecture has. */
  write(config: ModelConfig): GgufFields;
  /** What of a file that says it all llama.cpp computes otherwise, in sentences. Default: nothing. */
  differs?(config: ModelConfig): readonly string[];
}

/** llama.cpp's "llama", which is Mistral's too. */
export const LLAMA_GGUF: GgufFamily = {
  architecture: "llama",
  permuted: true,
  biases: SEPARATE,
  scalings: ["linear", "llama3"],
  read: () => ({}),
  write: () => ({}),
};

/** The linear layers that have biases where attention has them. */
export const QKV: readonly LinearName[] = ["q_proj", "k_proj", "v_proj"];

/** Keys of windows on some layers; the pattern is said where it is not the architecture's own, `period`. */
export function slidingFields({ layers = [] }: ModelConfig, period: number): GgufFields {
  const sliding = layers.map(({ window }) => window !== undefined);
  const window = layers.find((layer) => layer.window !== undefined)?.window;
  if (window === undefined) return {};
  const usual = sliding.every((has, layer) => has === ((layer + 1) % period !== 0));
  return {
    "attention.sliding_window": ["u32", window],
    ...(usual ? {} : { "attention.sliding_window_pattern": ["bool[]", sliding] }),
  };
}

/** Layers of which some have a window. */
export const someWindowed = (sliding: readonly boolean[], window: number, rope: LayerKind["rope"]): LayerKind[] =>
  sliding.map((has) => (has ? { rope, window } : { rope: "global" }));
