import {
  hasBias,
  inverseFrequencies,
  LINEARS,
  type LinearName,
  type LlamaConfig,
  linearShape,
} from "../models/index.js";
import { MICROSOFT, NodeList, type OnnxModel, type Open } from "../onnx/index.js";
import type { DType } from "../tensor/index.js";

/** How the weights of an exported graph are stored. */
export const ONNX_TYPES = ["f32", "f16", "q4_0"] as const;
export type OnnxType = (typeof ONNX_TYPES)[number];

/** How one matrix is stored: as numbers, or as blocks of 32 four-bit values with a scale. */
export type MatrixType = OnnxType;

/** Values of a block of MatMulNBits. */
export const ONNX_BLOCK = 32;
/** Added to hidden scores: finite, so that a row that sees nothing is no NaN. */
const HIDDEN = -1e9;
const ELEMENTS = { f32: 1, i64: 7, bool: 9, f16: 10 } as const;

/**
 * The type of a weight in a file of `type`. At four bits the embedding and the head, which suffer most, are f16, and so is a
 * matrix whose rows are no whole number of blocks; vectors are f32, for norms are computed in it.
 */
export function onnxTypeOf(name: string, shape: readonly number[], type: OnnxType): MatrixType {
  if (shape.length === 1) return name.endsWith(".bias") && type === "f16" ? "f16" : "f32";
  const inBlocks = name.startsWith("model.layers.") && shape[1]! % ONNX_BLOCK === 0;
  return type === "q4_0" && !inBlocks ? "f16" : type;
}

/** Names of a four-bit matrix's two parts. */
export const packedNames = (weight: string) => ({ values: `${weight}_q4`, scales: `${weight}_scales` });

/**
 * A Llama as transformers.js runs it (Optimum's names): input_ids, attention_mask, position_ids and past_key_values.N.key and
 * .value to logits and present.N.key, .value; batch, new and past tokens of any number, padding on either side. The weights
 * are no part of it, but read by their checkpoint names. At f16 everything but norms, angles and softmax is computed in
 * f16, the cache too; logits are f32 always.
 */
export function onnxLlama(config: LlamaConfig, type: OnnxType): OnnxModel {
  const g = new LlamaNodes(config, type);
  const { numKeyValueHeads: kv, headDim: hd } = config;
  const cache = (length: string) => ["batch_size", kv, length, hd];
  const layers = Array.from({ length: config.numHiddenLayers }, (_, i) => i);
  const sides = ["key", "value"] as const;
  const inputs: Open[] = [
    { name: "input_ids", dtype: "i64", shape: ["batch_size", "sequence_length"] },
    { name: "attention_mask", dtype: "i64", shape: ["batch_size", "total_sequence_length"] },
    { name: "position_ids", dtype: "i64", shape: ["batch_size", "sequence_length"] },
    ...layers.flatMap((i) =>
      sides.map((side) => ({
        name: `past_key_values.${i}.${side}`,
        dtype: g.dtype,
        shape: cache("past_sequence_length"),
      })),
    ),
  ];
  const common = g.common();
  let x = g.embed();
  for (const i of layers) x = g.block(i, x, common);
  g.logits(x);
  const outputs: Open[] = [
    { name: "logits", dtype: "f32", shape: ["batch_size", "sequence_length", config.vocabSize] },
    ...layers.flatMap((i) =>
      sides.map((side) => ({ name: `present.${i}.${side}`, dtype: g.dtype, shape: cache("total_sequence_length") })),
    ),
  ];
  return { name: "llama", nodes: g.nodes, initializers: g.initializers, inputs, outputs };
}

/**
 * The same graph in pieces that run one after another: each reads `hidden`, [B S, D], and gives `next`, which is the `hidden` of
 * the piece behind it; the first reads input_ids alone, the last gives logits. A block has the cache's inputs and outputs.
 */
export function onnxPieces(config: LlamaConfig, type: OnnxType): OnnxModel[] {
  const whole = onnxLlama(config, type);
  const piece = (make: (g: LlamaNodes) => string | undefined): OnnxModel => {
    const g = new LlamaNodes(config, type);
    const next = make(g);
    if (next) g.name(next, "next");
    const made = new Set(g.nodes.flatMap(({ outputs }) => outputs));
    const read = new Set(g.nodes.flatMap(({ inputs }) => inputs));
    const hidden = (name: string): Open => ({ name, dtype: g.dtype, shape: ["tokens", config.hiddenSize] });
    return {
      name: "piece",
      nodes: g.nodes,
      initializers: g.initializers,
      inputs: [...whole.inputs, hidden("hidden")].filter(({ name }) => read.has(name)),
      outputs: [...whole.outputs, hidden("next")].filter(({ name }) => made.has(name)),
    };
  };
  return [
    piece((g) => g.embed()),
    ...Array.from({ length: config.numHiddenLayers }, (_, i) => piece((g) => g.block(i, "hidden", g.common()))),
    piece((g) => void g.logits("hidden")),
  ];
}

/** What all blocks share: rotary tables [B, 1, S, hd/2], the mask [B, 1, 1, S, total], and the beginning [B, S] of shapes. */
interface Common {
  readonly cos: string;
  readonly sin: string;
  readonly mask: string;
  readonly rows: string;
}

class LlamaNodes extends NodeList {
  /** What the residual stream, the products and the cache are computed in. */
  readonly dtype: DType & ("f32" | "f16");
  private readonly config: LlamaConfig;
  private readonly type: OnnxType;

  constructor(config: LlamaConfig, type: OnnxType) {
    super();
    this.config = config;
    this.type = type;
    this.dtype = type === "f16" ? "f16" : "f32";
  }

  private cast(x: string, to: keyof typeof ELEMENTS): string {
    return this.emit("Cast", [x], { to: ELEMENTS[to] });
  }

  /** x as f32, for what f16 cannot hold; and back. */
  private wide(x: string): string {
    return this.dtype === "f16" ? this.cast(x, "f32") : x;
  }

  private narrow(x: string): string {
    return this.dtype === "f16" ? this.cast(x, "f16") : x;
  }

  private unsqueeze(x: string, ...axes: number[]): string {
    return this.emit("Unsqueeze", [x, this.ints(axes)]);
  }

  /** x [B S, ...] as [B, S, ...shape]. */
  private unfold(x: string, rows: string, ...shape: number[]): string {
    return this.emit("Reshape", [x, this.emit("Concat", [rows, this.ints(shape)], { axis: 0 })]);
  }

  /** Gives the last result its name in the file. */
  name(result: string, name: string): void {
    const last = this.nodes.length - 1;
    const { outputs, ...node } = this.nodes[last]!;
    if (outputs[0] !== result) throw new RangeError(`${name} is not the last result`);
    this.nodes[last] = { ...node, outputs: [name] };
  }

  common(): Common {
    const rows = this.emit("Shape", ["input_ids"]);
    const half = this.config.headDim / 2;
    const frequencies = Float32Array.from(inverseFrequencies(this.config));
    const inverse = this.tensor({ dtype: "f32", shape: [1, 1, half], data: frequencies });
    const positions = this.unsqueeze(this.cast("position_ids", "f32"), 2);
    const angles = this.unsqueeze(this.emit("Mul", [positions, inverse]), 1);
    return { cos: this.emit("Cos", [angles]), sin: this.emit("Sin", [angles]), mask: this.mask(), rows };
  }

  /** 0 where a token sees another (not later, not padding), else far below every score. */
  private mask(): string {
    const size = (of: string) => this.emit("Squeeze", [this.emit("Shape", [of], { start: 1, end: 2 }), this.ints([0])]);
    const [sequence, total] = [size("input_ids"), size("attention_mask")];
    const [zero, one] = [0, 1].map((n) => this.tensor({ dtype: "i64", shape: [], data: BigInt64Array.of(BigInt(n)) }));
    const keys = this.emit("Range", [zero!, total, one!]);
    const queries = this.emit("Range", [this.emit("Sub", [total, sequence]), total, one!]);
    const earlier = this.emit("LessOrEqual", [keys, this.unsqueeze(queries, 1)]); // [S, total]
    const real = this.unsqueeze(this.cast("attention_mask", "bool"), 1); // [B, 1, total]
    const seen = this.emit("And", [earlier, real]);
    return this.unsqueeze(this.emit("Where", [seen, this.scalar(0), this.scalar(HIDDEN)]), 1, 2);
  }

  /** Token ids to the residual stream [B S, D]. */
  embed(): string {
    const ids = this.emit("Reshape", ["input_ids", this.ints([-1])]);
    const table = "model.embed_tokens.weight";
    const x = this.emit("Gather", [table, ids], { axis: 0 });
    return this.type === "q4_0" ? this.cast(x, "f32") : x;
  }

  private norm(x: string, weight: string): string {
    const epsilon = { float: this.config.rmsNormEps };
    return this.narrow(this.emit("SimplifiedLayerNormalization", [this.wide(x), weight], { epsilon, axis: -1 }));
  }

  /** x W^T (+ b) of rows [B S, in]. */
  private linear(layer: number, name: LinearName, x: string): string {
    const module = `model.layers.${layer}.${LINEARS[name]}`;
    const weight = `${module}.weight`;
    const shape = linearShape(this.config, name);
    const bias = hasBias(this.config, name) ? [`${module}.bias`] : [];
    const type = onnxTypeOf(weight, shape, this.type);
    if (type !== "q4_0") return this.product(x, weight, bias, type);
    const { values, scales } = packedNames(weight);
    const attributes = { K: shape[1], N: shape[0], bits: 4, block_size: ONNX_BLOCK };
    const y = this.emit("MatMulNBits", [x, values, scales], attributes, MICROSOFT);
    return bias.length > 0 ? this.emit("Add", [y, bias[0]!]) : y;
  }

  /** x W^T (+ b), through f16 where that is what the weight alone is stored in. */
  private product(x: string, weight: string, bias: readonly string[], type: "f32" | "f16"): string {
    if (type === this.dtype) return this.emit("Gemm", [x, weight, ...bias], { transB: 1 });
    const y = this.cast(this.emit("Gemm", [this.cast(x, "f16"), weight], { transB: 1 }), "f32");
    return bias.length > 0 ? this.emit("Add", [y, bias[0]!]) : y;
  }

  /** One block on the residual stream [B S, D]. */
  block(layer: number, x: string, common: Common): string {
    const prefix = `model.layers.${layer}.`;
    const h = this.norm(x, `${prefix}input_layernorm.weight`);
    const o = this.linear(layer, "o_proj", this.attention(layer, h, common));
    const middle = this.emit("Add", [x, o]);
    const h2 = this.norm(middle, `${prefix}post_attention_layernorm.weight`);
    const gate = this.linear(layer, "gate_proj", h2);
    const silu = this.emit("Mul", [gate, this.emit("Sigmoid", [gate])]);
    const up = this.emit("Mul", [silu, this.linear(layer, "up_proj", h2)]);
    return this.emit("Add", [middle, this.linear(layer, "down_proj", up)]);
  }

  /** Attention of rows h [B S, D] over the cache and themselves: [B S, H hd]. Queries that share a key stand beside each other. */
  private attention(layer: number, h: string, { cos, sin, mask, rows }: Common): string {
    const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim: hd } = this.config;
    const project = (name: "q_proj" | "k_proj" | "v_proj", ...shape: number[]) =>
      this.unfold(this.linear(layer, name, h), rows, ...shape);
    const q = this.emit("Transpose", [project("q_proj", kv, heads / kv, hd)], { perm: [0, 2, 3, 1, 4] });
    const k = this.emit("Transpose", [project("k_proj", kv, hd)], { perm: [0, 2, 1, 3] });
    const v = this.emit("Transpose", [project("v_proj", kv, hd)], { perm: [0, 2, 1, 3] });
    const [key, value] = (["key", "value"] as const).map((side) => {
      const now = side === "key" ? this.narrow(this.rotated(k, cos, sin)) : v;
      this.name(
        this.emit("Concat", [`past_key_values.${layer}.${side}`, now], { axis: 2 }),
        `present.${layer}.${side}`,
      );
      return `present.${layer}.${side}`;
    });
    const turned = this.rotated(q, this.unsqueeze(cos, 1), this.unsqueeze(sin, 1)); // [B, KV, H / KV, S, hd]
    const queries = this.narrow(this.emit("Mul", [turned, this.scalar(hd ** -0.5)]));
    const transposed = this.unsqueeze(this.emit("Transpose", [key!], { perm: [0, 1, 3, 2] }), 2); // [B, KV, 1, hd, total]
    const scores = this.wide(this.emit("MatMul", [queries, transposed]));
    const weights = this.narrow(this.emit("Softmax", [this.emit("Add", [scores, mask])], { axis: -1 }));
    const mixed = this.emit("MatMul", [weights, this.unsqueeze(value!, 2)]);
    const joined = this.emit("Transpose", [mixed], { perm: [0, 3, 1, 2, 4] });
    return this.emit("Reshape", [joined, this.ints([-1, heads * hd])]);
  }

  /** Rotary positions (Su et al. 2021) on the last axis, whose halves are the pairs, in f32. */
  private rotated(x: string, cos: string, sin: string): string {
    const [a, b] = this.emitAll("Split", [this.wide(x)], 2, { axis: -1, num_outputs: 2 }) as [string, string];
    const times = (one: string, other: string) => this.emit("Mul", [one, other]);
    const first = this.emit("Sub", [times(a, cos), times(b, sin)]);
    const second = this.emit("Add", [times(b, cos), times(a, sin)]);
    return this.emit("Concat", [first, second], { axis: -1 });
  }

  logits(x: string): void {
    const { tieWordEmbeddings, vocabSize, hiddenSize } = this.config;
    const head = tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    const type = onnxTypeOf(head, [vocabSize, hiddenSize], this.type) as "f32" | "f16";
    const rows = this.wide(this.product(this.norm(x, "model.norm.weight"), head, [], type));
    this.name(this.unfold(rows, this.emit("Shape", ["input_ids"]), vocabSize), "logits");
  }
}
