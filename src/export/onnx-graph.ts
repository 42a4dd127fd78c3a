import {
  BLOCKS,
  type BlockOps,
  blockNorms,
  hasBias,
  headWeight,
  inverseFrequencies,
  type LayerKind,
  type LinearName,
  layerKind,
  linearShape,
  type ModelConfig,
  modulePath,
  type Projections,
  parseBlockPath,
  type RopeName,
  ropeNames,
  rotaryPairs,
  scoring,
  weightName,
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
  const inBlocks = parseBlockPath(name) !== undefined && shape[1]! % ONNX_BLOCK === 0;
  return type === "q4_0" && !inBlocks ? "f16" : type;
}

/** Names of a four-bit matrix's two parts. */
export const q4Names = (weight: string) => ({ values: `${weight}_q4`, scales: `${weight}_scales` });

/**
 * A model as transformers.js runs it (Optimum's names): input_ids, attention_mask, position_ids and past_key_values.N.key and
 * .value to logits and present.N.key, .value; batch, new and past tokens of any number, padding on either side. The weights
 * are no part of it, but read by their published names. At f16 everything but norms, angles and softmax is computed in
 * f16, the cache too; logits are f32 always.
 */
export function onnxModel(config: ModelConfig, type: OnnxType): OnnxModel {
  const g = new ModelNodes(config, type);
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
  return { name: "model", nodes: g.nodes, initializers: g.initializers, inputs, outputs };
}

/**
 * The same graph in pieces that run one after another: each reads `hidden`, [B S, D], and gives `next`, which is the `hidden` of
 * the piece behind it; the first reads input_ids alone, the last gives logits. A block has the cache's inputs and outputs.
 */
export function onnxPieces(config: ModelConfig, type: OnnxType): OnnxModel[] {
  const whole = onnxModel(config, type);
  const piece = (make: (g: ModelNodes) => string | undefined): OnnxModel => {
    const g = new ModelNodes(config, type);
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
    ...Array.from({ length: config.numHiddenLayers }, (_, i) =>
      piece((g) => g.block(i, "hidden", g.common([layerKind(config, i)]))),
    ),
    piece((g) => void g.logits("hidden")),
  ];
}

/** What all blocks share. */
interface Common {
  /** cos and sin [B, S, 1, rotaryDim/2] of each set of frequencies. */
  readonly rotations: ReadonlyMap<RopeName, readonly [cos: string, sin: string]>;
  /** The mask [B, 1, 1, S, total] by window. */
  readonly masks: ReadonlyMap<number | undefined, string>;
  /** The beginning [B, S] of shapes. */
  readonly rows: string;
}

class ModelNodes extends NodeList {
  /** What the residual stream, the products and the cache are computed in. */
  readonly dtype: DType & ("f32" | "f16");
  private readonly config: ModelConfig;
  private readonly type: OnnxType;

  constructor(config: ModelConfig, type: OnnxType) {
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

  /** What some blocks share: all of them, or those of these kinds. */
  common(kinds: readonly LayerKind[] = this.kinds()): Common {
    const rows = this.emit("Shape", ["input_ids"]);
    const positions = this.unsqueeze(this.cast("position_ids", "f32"), 2);
    const rotations = new Map<RopeName, readonly [string, string]>();
    for (const rope of ropeNames(this.config)) {
      if (!kinds.some((kind) => kind.rope === rope)) continue;
      const angles = this.unsqueeze(this.emit("Mul", [positions, this.frequencies(rope)]), 2);
      const { ropeScaling } = this.config;
      const factor = rope === "global" && ropeScaling?.type === "longrope" ? ropeScaling.attentionFactor : 1;
      const table = (type: "Cos" | "Sin") => {
        const plain = this.emit(type, [angles]);
        return factor === 1 ? plain : this.emit("Mul", [plain, this.scalar(factor)]);
      };
      rotations.set(rope, [table("Cos"), table("Sin")]);
    }
    const windows = [...new Set(kinds.map(({ window }) => window))];
    return { rotations, masks: new Map(windows.map((window) => [window, this.mask(window)])), rows };
  }

  /** Frequencies [1, 1, rotaryDim/2]; of two sets by length, the one for as many positions as there are. */
  private frequencies(rope: RopeName): string {
    const { ropeScaling } = this.config;
    const of = (total: number) => {
      const data = Float32Array.from(inverseFrequencies(this.config, rope, total));
      return this.tensor({ dtype: "f32", shape: [1, 1, data.length], data });
    };
    if (rope === "local" || ropeScaling?.type !== "longrope") return of(0);
    const { originalMaxPositionEmbeddings: trained } = ropeScaling;
    const most = this.emit("ReduceMax", ["position_ids", this.ints([0, 1])], { keepdims: 0 });
    const last = this.tensor({ dtype: "i64", shape: [], data: BigInt64Array.of(BigInt(trained - 1)) });
    return this.emit("Where", [this.emit("Greater", [most, last]), of(trained + 1), of(0)]);
  }

  private kinds(): LayerKind[] {
    return Array.from({ length: this.config.numHiddenLayers }, (_, layer) => layerKind(this.config, layer));
  }

  /** 0 where a token sees another (not later, not padding, not out of the window), else far below every score. */
  private mask(window: number | undefined): string {
    const size = (of: string) => this.emit("Squeeze", [this.emit("Shape", [of], { start: 1, end: 2 }), this.ints([0])]);
    const whole = (n: number) => this.tensor({ dtype: "i64", shape: [], data: BigInt64Array.of(BigInt(n)) });
    const [sequence, total] = [size("input_ids"), size("attention_mask")];
    const keys = this.emit("Range", [whole(0), total, whole(1)]);
    const queries = this.unsqueeze(this.emit("Range", [this.emit("Sub", [total, sequence]), total, whole(1)]), 1);
    const earlier = this.emit("LessOrEqual", [keys, queries]); // [S, total]
    const inside =
      window === undefined
        ? earlier
        : this.emit("And", [earlier, this.emit("Greater", [keys, this.emit("Sub", [queries, whole(window)])])]);
    const real = this.unsqueeze(this.cast("attention_mask", "bool"), 1); // [B, 1, total]
    const seen = this.emit("And", [inside, real]);
    return this.unsqueeze(this.emit("Where", [seen, this.scalar(0), this.scalar(HIDDEN)]), 1, 2);
  }

  /** Token ids to the residual stream [B S, D]. */
  embed(): string {
    const ids = this.emit("Reshape", ["input_ids", this.ints([-1])]);
    const table = "model.embed_tokens.weight";
    const x = this.emit("Gather", [table, ids], { axis: 0 });
    return this.scaled(this.type === "q4_0" ? this.cast(x, "f32") : x, this.config.embeddingScale ?? 1);
  }

  /** x times a number, in x's own type. */
  private scaled(x: string, factor: number): string {
    if (factor === 1) return x;
    return this.emit("Mul", [x, this.narrow(this.scalar(factor))]);
  }

  private norm(x: string, weight: string): string {
    const epsilon = { float: this.config.rmsNormEps };
    const stored = this.config.unitOffsetNorm ? this.emit("Add", [weight, this.scalar(1)]) : weight;
    return this.narrow(this.emit("SimplifiedLayerNormalization", [this.wide(x), stored], { epsilon, axis: -1 }));
  }

  /** x W^T (+ b) of rows [B S, in]. */
  private linear(layer: number, name: LinearName, x: string): string {
    const module = modulePath(layer, name);
    const weight = `${module}.weight`;
    const shape = linearShape(this.config, name);
    const bias = hasBias(this.config, name) ? [`${module}.bias`] : [];
    const type = onnxTypeOf(weight, shape, this.type);
    if (type !== "q4_0") return this.product(x, weight, bias, type);
    const { values, scales } = q4Names(weight);
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
    const block = BLOCKS[this.config.block ?? "pre_norm"];
    const ops = this.ops(layer, common);
    const { q, k, v } = block.attentionInput(ops, x);
    return block.attentionOutput(ops, x, this.attention(layer, { q, k, v }, common));
  }

  /** The operations of a block as nodes; values are [B S, width]. */
  private ops(layer: number, { rotations, rows }: Common): BlockOps<string> {
    const { config } = this;
    const { rope } = layerKind(config, layer);
    const norms = blockNorms(config);
    const inParts = (x: string, width: number, use: (parts: string) => string, heads: number) =>
      this.emit("Reshape", [
        use(this.emit("Reshape", [x, this.ints([-1, heads, width])])),
        this.ints([-1, heads * width]),
      ]);
    return {
      config,
      linear: (name, x) => this.linear(layer, name as LinearName, x),
      norm: (name, x, heads = 1) => {
        const weight = weightName(`${name}.weight`, layer);
        if (heads === 1) return this.norm(x, weight);
        return inParts(x, norms.get(name)!, (parts) => this.norm(parts, weight), heads);
      },
      rotate: (x, heads) => {
        if (rope === "none") return x;
        const byHead = this.unfold(x, rows, heads, config.headDim);
        const turned = this.narrow(this.rotated(byHead, ...rotations.get(rope)!));
        return this.emit("Reshape", [turned, this.ints([-1, heads * config.headDim])]);
      },
      add: (a, b) => this.emit("Add", [a, b]),
      scale: (x, factor) => this.scaled(x, factor),
      gated: (gate, up) => this.emit("Mul", [this.activation(gate), up]),
      split: (x, widths) => this.emitAll("Split", [x, this.ints(widths)], widths.length, { axis: 1 }),
    };
  }

  private activation(x: string): string {
    if (this.config.activation !== "gelu_tanh") return this.emit("Mul", [x, this.emit("Sigmoid", [x])]);
    return this.narrow(this.emit("Gelu", [this.wide(x)], { approximate: "tanh" }));
  }

  /** Attention of rows over the cache and themselves: [B S, H hd]. Queries that share a key stand beside each other. */
  private attention(layer: number, { q, k, v }: Projections<string>, { masks, rows }: Common): string {
    const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim: hd } = this.config;
    const { scale, softcap } = scoring(this.config);
    const byHead = (x: string) => this.emit("Transpose", [this.unfold(x, rows, kv, hd)], { perm: [0, 2, 1, 3] });
    const [key, value] = (["key", "value"] as const).map((side) => {
      const now = byHead(side === "key" ? k : v);
      this.name(
        this.emit("Concat", [`past_key_values.${layer}.${side}`, now], { axis: 2 }),
        `present.${layer}.${side}`,
      );
      return `present.${layer}.${side}`;
    });
    const grouped = this.emit("Transpose", [this.unfold(q, rows, kv, heads / kv, hd)], { perm: [0, 2, 3, 1, 4] });
    const queries = this.narrow(this.emit("Mul", [this.wide(grouped), this.scalar(scale)])); // [B, KV, H / KV, S, hd]
    const transposed = this.unsqueeze(this.emit("Transpose", [key!], { perm: [0, 1, 3, 2] }), 2); // [B, KV, 1, hd, total]
    const scores = this.softcapped(this.wide(this.emit("MatMul", [queries, transposed])), softcap || undefined);
    const mask = masks.get(layerKind(this.config, layer).window)!;
    const weights = this.narrow(this.emit("Softmax", [this.emit("Add", [scores, mask])], { axis: -1 }));
    const mixed = this.emit("MatMul", [weights, this.unsqueeze(value!, 2)]);
    const joined = this.emit("Transpose", [mixed], { perm: [0, 3, 1, 2, 4] });
    return this.emit("Reshape", [joined, this.ints([-1, heads * hd])]);
  }

  /** cap tanh(x / cap) of an f32 x. */
  private softcapped(x: string, cap: number | undefined): string {
    if (cap === undefined) return x;
    return this.emit("Mul", [this.emit("Tanh", [this.emit("Div", [x, this.scalar(cap)])]), this.scalar(cap)]);
  }

  /** Rotary positions (Su et al. 2021) on the last axis, whose halves are the pairs, in f32; what is behind them stays. */
  private rotated(x: string, cos: string, sin: string): string {
    const { headDim } = this.config;
    const pairs = rotaryPairs(this.config);
    const widths = [pairs, pairs, ...(2 * pairs < headDim ? [headDim - 2 * pairs] : [])];
    const [a, b, ...rest] = this.emitAll("Split", [this.wide(x), this.ints(widths)], widths.length, { axis: -1 });
    const times = (one: string, other: string) => this.emit("Mul", [one, other]);
    const first = this.emit("Sub", [times(a!, cos), times(b!, sin)]);
    const second = this.emit("Add", [times(b!, cos), times(a!, sin)]);
    return this.emit("Concat", [first, second, ...rest], { axis: -1 });
  }

  logits(x: string): void {
    const { vocabSize, hiddenSize } = this.config;
    const head = headWeight(this.config);
    const type = onnxTypeOf(head, [vocabSize, hiddenSize], this.type) as "f32" | "f16";
    const products = this.wide(this.product(this.norm(x, "model.norm.weight"), head, [], type));
    const { logitScale = 1, finalSoftcap } = this.config;
    const scaled = logitScale === 1 ? products : this.emit("Mul", [products, this.scalar(logitScale)]);
    const rows = this.softcapped(scaled, finalSoftcap);
    this.name(this.unfold(rows, this.emit("Shape", ["input_ids"]), vocabSize), "logits");
  }
}
