import type { Fn } from "../graph/index.js";
import {
  type Adaptation,
  adapterShapes,
  attentionInput,
  attentionOutput,
  blockLora,
  EMBEDDING,
  HEAD,
  type HeadGradients,
  type LayerKind,
  type LoraConfig,
  layerKind,
  type ModelConfig,
  TOKEN_ROWS,
  weightName,
  weightShapes,
} from "../models/index.js";
import type { Shape } from "../tensor/index.js";

/** What is trained: an adapter over frozen weights, or every weight of the model. */
export type Trainables = { readonly kind: "lora"; readonly lora: LoraConfig } | { readonly kind: "full" };

/** The same, or nothing: the model as it is. */
export type Adapted = Trainables | { readonly kind: "none" };

/** The gradients that one block's backward has to produce. */
export interface LayerPlan {
  readonly index: number;
  readonly adaptation: Adaptation;
  /** What its attention is. */
  readonly kind: LayerKind;
  /** Trainable inputs of `attentionInput` and `attentionOutput`, by input name. */
  readonly inputTrainables: readonly string[];
  readonly outputTrainables: readonly string[];
  /** Something trainable lies below this block: its input needs a gradient. */
  readonly needsX: boolean;
  /** q, k and v need gradients: for this block's adapters or for what lies below. */
  readonly needsAttention: boolean;
}

/** Shapes of all trainable tensors by published name, in the order in which they lie in the flat vectors. */
export function trainableShapes(config: ModelConfig, trainables: Adapted): Map<string, Shape> {
  if (trainables.kind === "full") return weightShapes(config);
  if (trainables.kind === "none") return new Map();
  return adapterShapes(trainables.lora, config);
}

/** The gradients that are wanted of what lies outside the blocks. */
export interface OuterPlan {
  /** Of the head's weights; undefined: of none. */
  readonly head: HeadGradients | undefined;
  /** The embedding is trained. */
  readonly embedding: boolean;
  /** Tokens whose rows of the embedding are trained alone. */
  readonly tokens: readonly number[];
}

/** Decides what outside the blocks has a gradient; the embedding's rows are the head's where the two are tied. */
export function planOuter(config: ModelConfig, trainables: Adapted): OuterPlan {
  const trained = trainableShapes(config, trainables);
  const tokens = (trainables.kind === "lora" && trainables.lora.trainableTokenIndices) || [];
  const { tieWordEmbeddings: tied } = config;
  const embedding = trained.has(EMBEDDING);
  const norm = trained.has("model.norm.weight");
  const head = tied ? embedding : trained.has(HEAD);
  const rows = tied ? tokens.length : 0;
  return { head: norm || head || rows > 0 ? { norm, head, tokens: rows } : undefined, embedding, tokens };
}

/** Decides block by block what has a gradient: nothing below the lowest trainable tensor is ever visited. */
export function planLayers(config: ModelConfig, trainables: Adapted): LayerPlan[] {
  const trained = trainableShapes(config, trainables);
  let below = trained.has(EMBEDDING) || trained.has(TOKEN_ROWS);
  return Array.from({ length: config.numHiddenLayers }, (_, index) => {
    const adapter = trainables.kind === "lora" ? trainables.lora : undefined;
    const lora = adapter && blockLora(adapter, index);
    const adaptation = lora ? { lora, dropout: adapter!.dropout } : {};
    const trainable = (part: Fn) => Object.keys(part.inputs).filter((name) => trained.has(weightName(name, index)));
    const kind = layerKind(config, index);
    const inputTrainables = trainable(attentionInput(config, 1, adaptation, kind));
    const outputTrainables = trainable(attentionOutput(config, 1, adaptation));
    const needsX = below;
    const needsAttention = needsX || inputTrainables.length > 0;
    below ||= inputTrainables.length + outputTrainables.length > 0;
    return { index, adaptation, kind, inputTrainables, outputTrainables, needsX, needsAttention };
  });
}
