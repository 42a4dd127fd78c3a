/** How rotary frequencies are stretched past the trained context; the kinds Llama checkpoints use. */
export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositionEmbeddings: number;
    };

/**
 * The shape of a Llama-family model, as Hugging Face's `LlamaConfig` has it (camelCase here).
 * `headDim` is explicit: it need not be `hiddenSize / numAttentionHeads`.
 */
export interface LlamaConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling?: RopeScaling;
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  /** q, k, v and o projections carry biases. */
  readonly attentionBias: boolean;
  /** gate, up and down projections carry biases. */
  readonly mlpBias: boolean;
}

/** The linear layers of one block, in the checkpoint's order, with the module path inside `model.layers.N`. */
export const LINEARS = {
  q_proj: "self_attn.q_proj",
  k_proj: "self_attn.k_proj",
  v_proj: "self_attn.v_proj",
  o_proj: "self_attn.o_proj",
  gate_proj: "mlp.gate_proj",
  up_proj: "mlp.up_proj",
  down_proj: "mlp.down_proj",
} as const;

export type LinearName = keyof typeof LINEARS;

/** [out, in] of a linear layer's weight. */
export function linearShape(config: LlamaConfig, name: LinearName): readonly [number, number] {
  const { hiddenSize: d, intermediateSize: f, headDim: h } = config;
  const q = config.numAttentionHeads * h;
  const kv = config.numKeyValueHeads * h;
  const shapes: Record<LinearName, readonly [number, number]> = {
    q_proj: [q, d],
    k_proj: [kv, d],
    v_proj: [kv, d],
    o_proj: [d, q],
    gate_proj: [f, d],
    up_proj: [f, d],
    down_proj: [d, f],
  };
  return shapes[name];
}

/** Every weight of the model: Hugging Face name -> shape, in checkpoint order. A tied head has no `lm_head.weight`. */
export function weightShapes(config: LlamaConfig): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const { hiddenSize: d } = config;
  shapes.set("model.embed_tokens.weight", [config.vocabSize, d]);
  for (let i = 0; i < config.numHiddenLayers; i++) {
    const prefix = `model.layers.${i}.`;
    shapes.set(`${prefix}input_layernorm.weight`, [d]);
    shapes.set(`${prefix}post_attention_layernorm.weight`, [d]);
    for (const [name, path] of Object.entries(LINEARS) as [LinearName, string][]) {
      const shape = linearShape(config, name);
      shapes.set(`${prefix}${path}.weight`, shape);
      const biased = path.startsWith("self_attn") ? config.attentionBias : config.mlpBias;
      if (biased) shapes.set(`${prefix}${path}.bias`, [shape[0]]);
    }
  }
  shapes.set("model.norm.weight", [d]);
  if (!config.tieWordEmbeddings) shapes.set("lm_head.weight", [config.vocabSize, d]);
  return shapes;
}
