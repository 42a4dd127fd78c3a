import {
  type Adaptation,
  type BlockLora,
  blockLora,
  hasBias,
  LINEARS,
  type LinearName,
  type LlamaConfig,
  type LoraConfig,
  loraShapes,
  weightName,
  weightShapes,
} from "../models/index.js";
import type { Shape } from "../tensor/index.js";

/** What is trained: an adapter over frozen weights, or every weight of the model. */
export type Trainables = { readonly kind: "lora"; readonly lora: LoraConfig } | { readonly kind: "full" };

/** The gradients that one block's backward has to produce. */
export interface LayerPlan {
  readonly index: number;
  readonly adaptation: Adaptation;
  /** Trainable inputs of `attentionInput` and `attentionOutput`, by input name. */
  readonly inputTrainables: readonly string[];
  readonly outputTrainables: readonly string[];
  /** Something trainable lies below this block: its input needs a gradient. */
  readonly needsX: boolean;
  /** q, k and v need gradients: for this block's adapters or for what lies below. */
  readonly needsAttention: boolean;
}

const INPUT_LINEARS: readonly LinearName[] = ["q_proj", "k_proj", "v_proj"];
const OUTPUT_LINEARS: readonly LinearName[] = ["o_proj", "gate_proj", "up_proj", "down_proj"];

/** Shapes of all trainable tensors by checkpoint name, in the order in which they lie in the flat vectors. */
export function trainableShapes(config: LlamaConfig, trainables: Trainables): Map<string, Shape> {
  if (trainables.kind === "full") return weightShapes(config);
  const { lora } = trainables;
  const shapes = new Map<string, Shape>();
  for (let i = 0; i < config.numHiddenLayers; i++) {
    const block = blockLora(lora, i);
    for (const name of Object.keys(LINEARS) as LinearName[]) {
      const adapter = block?.[name];
      if (!adapter) continue;
      const { A, B } = loraShapes(config, name, adapter.r);
      shapes.set(weightName(`${name}.lora_A.weight`, i), A);
      shapes.set(weightName(`${name}.lora_B.weight`, i), B);
    }
  }
  return shapes;
}

/** Decides block by block what has a gradient: nothing below the lowest trainable tensor is ever visited. */
export function planLayers(config: LlamaConfig, trainables: Trainables): LayerPlan[] {
  const full = trainables.kind === "full";
  let below = full;
  return Array.from({ length: config.numHiddenLayers }, (_, index) => {
    const lora = full ? undefined : blockLora(trainables.lora, index);
    const trainable = (linears: readonly LinearName[], norm: string) =>
      full ? fullInputs(config, linears, norm) : adapterInputs(lora, linears);
    const inputTrainables = trainable(INPUT_LINEARS, "input_layernorm");
    const outputTrainables = trainable(OUTPUT_LINEARS, "post_attention_layernorm");
    const needsX = below;
    const needsAttention = needsX || inputTrainables.length > 0;
    below ||= inputTrainables.length + outputTrainables.length > 0;
    const adaptation = full || !lora ? {} : { lora, dropout: trainables.lora.dropout };
    return { index, adaptation, inputTrainables, outputTrainables, needsX, needsAttention };
  });
}

const adapterInputs = (lora: BlockLora | undefined, linears: readonly LinearName[]): string[] =>
  linears.filter((name) => lora?.[name]).flatMap((name) => [`${name}.lora_A.weight`, `${name}.lora_B.weight`]);

const fullInputs = (config: LlamaConfig, linears: readonly LinearName[], norm: string): string[] => [
  `${norm}.weight`,
  ...linears.flatMap((name) => (hasBias(config, name) ? [`${name}.weight`, `${name}.bias`] : [`${name}.weight`])),
];
