import { blockPath } from "./block-path.js";
import { BLOCKS, type BlockKind } from "./blocks/index.js";

/** How rotary frequencies are stretched past the trained context. */
export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    }
  | {
      readonly type: "longrope";
      /** What divides each frequency in texts of up to `originalMaxPositionEmbeddings` tokens, and in longer ones. */
      readonly shortFactors: readonly number[];
      readonly longFactors: readonly number[];
      readonly originalMaxPositionEmbeddings: number;
      /** Factor on cos and sin. */
      readonly attentionFactor: number;
    };

/** One set of rotary frequencies. */
export interface Rope {
  /** The base of the frequencies, `rope_theta`. */
  readonly theta: number;
  readonly scaling?: RopeScaling;
}

/** How one block's attention differs from other blocks'. */
export interface LayerKind {
  /** Which rotary frequencies turn its queries and keys: the model's own, the second set (`localRope`), or none. */
  readonly rope: "global" | "local" | "none";
  /** Positions that a token sees, itself included; undefined: all before it. */
  readonly window?: number;
}

/** Blocks [first, end) of a model. */
export interface BlockRange {
  readonly first: number;
  readonly end: number;
}

/** The blocks that graphs of a model are built of. */
export const heldBlocks = ({ heldBlocks: held, numHiddenLayers: end }: ModelConfig): BlockRange =>
  held ?? { first: 0, end };

/**
 * The shape of a model: every family's configuration comes to this (camelCase of Hugging Face's keys where there is one).
 * What is not said is as Llama has it. `headDim` is explicit: it need not be `hiddenSize / numAttentionHeads`.
 */
export interface ModelConfig {
  /** `model_type` of its family. Default "llama". */
  readonly family?: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  /** The blocks that graphs are built of, where other processes have the rest of the model. Default: all. */
  readonly heldBlocks?: BlockRange;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling?: RopeScaling;
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  /** q, k and v projections carry biases; o too, unless `outputBias` says otherwise. */
  readonly attentionBias: boolean;
  /** gate, up and down projections carry biases. */
  readonly mlpBias: boolean;
  /** Whether o carries biases. Default: as `attentionBias`. */
  readonly outputBias?: boolean;
  /** Where a block's norms stand. Default "pre_norm". */
  readonly block?: BlockKind;
  /** q, k, v are one linear layer, and so are gate and up. Default false. */
  readonly fused?: boolean;
  /** RMSNorm of queries and keys before they are rotated: each head by itself, or over the whole width. Default: none. */
  readonly qkNorm?: "head" | "width";
  /** Norms multiply by 1 + weight. Default false: by the weight. */
  readonly unitOffsetNorm?: boolean;
  /** The MLP's activation. Default "silu". */
  readonly activation?: "silu" | "gelu_tanh";
  /** Factor on attention scores. Default headDim^-0.5. */
  readonly attentionScale?: number;
  /** c of c tanh(score / c). Default: none. */
  readonly attentionSoftcap?: number;
  /** The same of logits. */
  readonly finalSoftcap?: number;
  /** Factor on the embedding. Default 1. */
  readonly embeddingScale?: number;
  /** Factor on what a branch adds to the residual stream. Default 1. */
  readonly residualMultiplier?: number;
  /** Factor on logits. Default 1. */
  readonly logitScale?: number;
  /** Dimensions of a head that are rotated, the first ones. Default: all. */
  readonly rotaryDim?: number;
  /** The rotary frequencies of layers whose kind says "local". */
  readonly localRope?: Rope;
  /** What each layer's attention is. Default: all "global", without a window. */
  readonly layers?: readonly LayerKind[];
}

/** The linear layers of a block that any family has, in the published order, with the module path inside `model.layers.N`. */
export const LINEARS = {
  q_proj: "self_attn.q_proj",
  k_proj: "self_attn.k_proj",
  v_proj: "self_attn.v_proj",
  qkv_proj: "self_attn.qkv_proj",
  o_proj: "self_attn.o_proj",
  gate_proj: "mlp.gate_proj",
  up_proj: "mlp.up_proj",
  gate_up_proj: "mlp.gate_up_proj",
  down_proj: "mlp.down_proj",
} as const;

export type LinearName = keyof typeof LINEARS;

/** Norms inside the attention module; all others stand beside it. */
const INNER_NORMS: Readonly<Record<string, string>> = { q_norm: "self_attn.q_norm", k_norm: "self_attn.k_norm" };

/** Where q, k, v and gate, up are layers of their own. */
export const SEPARATE: readonly LinearName[] = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
];
const FUSED: readonly LinearName[] = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"];

/** The linear layers of this model's blocks, in the published order. */
export const linearNames = ({ fused }: Blocks): readonly LinearName[] => (fused ? FUSED : SEPARATE);

/** The linear layer of any family at a path inside a block: "self_attn.q_proj" -> "q_proj". */
export const linearAt = (path: string | undefined): LinearName | undefined =>
  (Object.keys(LINEARS) as LinearName[]).find((name) => LINEARS[name] === path);

/** What says which linear layers a model has. */
export type Blocks = Pick<ModelConfig, "numHiddenLayers" | "fused">;

/** The path of a block's module by its own name: "q_proj" -> "self_attn.q_proj". */
export const pathInBlock = (module: string): string => LINEARS[module as LinearName] ?? INNER_NORMS[module] ?? module;

/** What a layer's attention is. */
export const layerKind = (config: ModelConfig, layer: number): LayerKind => config.layers?.[layer] ?? PLAIN;

const PLAIN: LayerKind = { rope: "global" };

/** [out, in] of a linear layer's weight. */
export function linearShape(config: ModelConfig, name: LinearName): readonly [number, number] {
  const { hiddenSize: d, intermediateSize: f, headDim: h } = config;
  const q = config.numAttentionHeads * h;
  const kv = config.numKeyValueHeads * h;
  const shapes: Record<LinearName, readonly [number, number]> = {
    q_proj: [q, d],
    k_proj: [kv, d],
    v_proj: [kv, d],
    qkv_proj: [q + 2 * kv, d],
    o_proj: [d, q],
    gate_proj: [f, d],
    up_proj: [f, d],
    gate_up_proj: [2 * f, d],
    down_proj: [d, f],
  };
  return shapes[name];
}

/** Whether a linear layer has biases in this model. */
export function hasBias(config: ModelConfig, name: LinearName): boolean {
  if (name === "o_proj") return config.outputBias ?? config.attentionBias;
  return LINEARS[name].startsWith("self_attn") ? config.attentionBias : config.mlpBias;
}

/** The norms of a block by name, with their widths. */
export function blockNorms(config: ModelConfig): Map<string, number> {
  const { hiddenSize, headDim, numAttentionHeads, numKeyValueHeads, qkNorm, block = "pre_norm" } = config;
  const norms = new Map(BLOCKS[block].norms.map((name) => [name, hiddenSize]));
  if (qkNorm === undefined) return norms;
  const width = (heads: number) => (qkNorm === "head" ? headDim : heads * headDim);
  return norms.set("q_norm", width(numAttentionHeads)).set("k_norm", width(numKeyValueHeads));
}

/** Every weight of the model: Hugging Face name -> shape, in the published order. A tied head has no `lm_head.weight`. */
export function weightShapes(config: ModelConfig): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const { hiddenSize: d } = config;
  shapes.set("model.embed_tokens.weight", [config.vocabSize, d]);
  for (let i = 0; i < config.numHiddenLayers; i++) {
    for (const [name, width] of blockNorms(config)) shapes.set(blockPath(i, `${pathInBlock(name)}.weight`), [width]);
    for (const name of linearNames(config)) {
      const shape = linearShape(config, name);
      shapes.set(blockPath(i, `${LINEARS[name]}.weight`), shape);
      if (hasBias(config, name)) shapes.set(blockPath(i, `${LINEARS[name]}.bias`), [shape[0]]);
    }
  }
  shapes.set("model.norm.weight", [d]);
  if (!config.tieWordEmbeddings) shapes.set("lm_head.weight", [config.vocabSize, d]);
  return shapes;
}
