import {
  add,
  BITS_BLOCK,
  cachedAttention,
  concat,
  type Declare,
  define,
  type Fn,
  gather,
  lessOrEqual,
  matmul,
  matmulBits,
  mul,
  reshape,
  scalar,
  transpose,
  type Value,
  where,
} from "../graph/index.js";
import { layerPrefix } from "./block-path.js";
import { BLOCKS } from "./blocks/index.js";
import { type CacheGroup, cacheGroups, cacheShape, groupCapacity } from "./caches.js";
import { hasBias, heldBlocks, type LinearName, layerKind, linearShape, type ModelConfig } from "./config.js";
import { graphOps, normed, scaled } from "./graph-ops.js";
import { finished } from "./loss.js";
import { type RopeName, ropeNames, rotaryPairs } from "./rope.js";
import { scoring } from "./training.js";

export interface DecodeShape {
  /** Texts in one run. */
  readonly rows: number;
  /** New tokens of each. */
  readonly tokens: number;
  /** Positions that the cache of each holds, in layers without a window. */
  readonly capacity: number;
  /** Adapters' factors that lie one under the other: the sum of their ranks. 0: none. */
  readonly rank: number;
  /** The linear layers that any of these adapters changes. */
  readonly targets: readonly LinearName[];
  /** Those of them whose rows any of these adapters gives a gain, and those to which any of them adds a bias. Default: none. */
  readonly gains?: readonly LinearName[];
  readonly biases?: readonly LinearName[];
  /** Weights are held in few bits (`linearBits`); default: they are fp32. */
  readonly bits?: 4 | 8 | undefined;
  /** Tokens of each text for which something is given. Default 1. */
  readonly wanted?: number;
  /** Hidden states after the last norm are given in place of logits. Default false. */
  readonly hidden?: boolean;
}

/**
 * The whole model as one graph over KV caches: T new tokens of each of R texts after what their caches hold, to the logits of
 * one token of each. Linear layers see all R T tokens at once, attention each text's own cache.
 *
 * Inputs: ids [R T], the texts one after the other; wanted [R], whose logits are asked for (or so many of each text); cos, sin [R T, rotaryDim/2] of the new
 * positions, and `cos_local`, `sin_local` where layers turn by the second frequencies; last [R, 1], the last position in each
 * cache, -1 in an empty one, and `last_W` in those of layers with a window of W; every weight; `layers.N.k_cache` and `v_cache`
 * [R, KV, C, hd], C as `groupCapacity` has it; and with adapters picked [R T, rank], 1 for the factors of a token's own adapter
 * and else 0, factor [R T, 1], its strength, `layers.N.q_proj.stacked_A` [rank, in] and `stacked_B` [rank, out], and for `gains`
 * `stacked_gain` [rank, out], an adapter's gain in the first of its rows and else 0; for `biases` `stacked_bias` likewise. Outputs: logits [R, V], or with `hidden` the states [R, D] that they are made of, and kv
 * [2 L, R, KV, T, hd], keys and values of each layer, to be written into the caches, `kv_W` those of layers with windows. Cached
 * keys are already rotated. With `bits`
 * a weight is three inputs, `.codes`, `.scales` and `.zeros` in place of `.weight`.
 *
 * Of a model of which only some blocks are held (`heldBlocks`), those alone: in place of ids stream [R T, D], what the block before
 * them made, and in place of logits next [R T, D], what goes into the block behind them.
 */
export function decode(config: ModelConfig, shape: DecodeShape): Fn {
  return define("decode", (declare) => {
    const { first, end } = heldBlocks(config);
    const shared = sharedValues(declare, config, shape);
    let x = first === 0 ? embedded(declare, config, shape) : declare("stream", streamShape(config, shape));
    const made = new Map<CacheGroup, Value[]>(cacheGroups(config).map((group) => [group, []]));
    for (let i = first; i < end; i++) {
      const block = decodeBlock({ declare, config, shape, shared }, i, x);
      x = block.y;
      made.get(groupOf(config, i))!.push(block.k, block.v);
    }
    const caches = [...made].map(([group, parts]) => {
      return [
        `kv${group.suffix}`,
        reshape(concat(parts, 0), cacheShape(config, group, shape.rows, shape.tokens)),
      ] as const;
    });
    const answer: Outputs = end < config.numHiddenLayers ? { next: x } : said(declare, config, shape, x);
    return { ...answer, ...Object.fromEntries(caches) };
  });
}

type Outputs = Readonly<Record<string, Value>>;

/** What goes into the first block, and from each block to the next [R T, D]. */
const streamShape = ({ hiddenSize }: ModelConfig, { rows, tokens }: DecodeShape) =>
  [rows * tokens, hiddenSize] as const;

function embedded(declare: Declare, config: ModelConfig, { rows, tokens }: DecodeShape): Value {
  const table = declare("embed_tokens.weight", [config.vocabSize, config.hiddenSize]);
  const ids = declare("ids", [rows * tokens], "i64");
  return scaled(gather(table, ids), config.embeddingScale ?? 1);
}

/** What is given of the last stream: logits, or the states that they are made of. */
function said(declare: Declare, config: ModelConfig, { rows, wanted = 1, ...shape }: DecodeShape, x: Value): Outputs {
  const { hiddenSize: d, vocabSize } = config;
  const chosen = gather(x, declare("wanted", [rows * wanted], "i64"));
  const hidden = normed(config, chosen, declare("norm.weight", [d]));
  if (shape.hidden) return { hidden };
  return { logits: finished(config, product(declare, "lm_head", [vocabSize, d], hidden, shape.bits && HEAD_BITS)) };
}

const groupOf = (config: ModelConfig, layer: number): CacheGroup =>
  cacheGroups(config).find(({ layers }) => layers.includes(layer))!;

/** What is stacked of a linear layer is called so in its block; in the joined graph behind the block's `layerPrefix`. */
export const stackedName = (name: LinearName, part: "A" | "B" | "gain" | "bias"): string => `${name}.stacked_${part}`;

/** What every block reads. */
interface Shared {
  /** The last positions in the caches of each group of layers. */
  readonly last: ReadonlyMap<CacheGroup, Value>;
  /** Which factors are a token's own, and how strong they are. */
  readonly adapter: { readonly picked: Value; readonly own: Value; readonly factor: Value } | undefined;
}

function sharedValues(declare: Declare, config: ModelConfig, { rows, tokens, rank }: DecodeShape): Shared {
  const n = rows * tokens;
  for (const name of ropeNames(config)) rotation(declare, config, n, name);
  const picked = rank > 0 ? declare("picked", [n, rank]) : undefined;
  return {
    last: new Map(cacheGroups(config).map((group) => [group, declare(`last${group.suffix}`, [rows, 1])])),
    adapter: picked && { picked, own: lessOrEqual(scalar(0.5), picked), factor: declare("factor", [n, 1]) },
  };
}

/** Tables of a set of rotary frequencies, as a run is given them: `cos`, `sin`, or `cos_local`, `sin_local`. */
export const rotationNames = (rope: RopeName): readonly [cos: string, sin: string] =>
  rope === "global" ? ["cos", "sin"] : [`cos_${rope}`, `sin_${rope}`];

function rotation(declare: Declare, config: ModelConfig, n: number, rope: RopeName): readonly [Value, Value] {
  const [cos, sin] = rotationNames(rope);
  const half = rotaryPairs(config);
  return [declare(cos, [n, half]), declare(sin, [n, half])];
}

/** What the graph of a whole model is being built from. */
interface Building {
  readonly declare: Declare;
  readonly config: ModelConfig;
  readonly shape: DecodeShape;
  readonly shared: Shared;
}

function decodeBlock({ declare, config, shape, shared }: Building, layer: number, x: Value) {
  const { numAttentionHeads: heads, numKeyValueHeads: kv, headDim: hd } = config;
  const { rows, tokens } = shape;
  const group = groupOf(config, layer);
  const capacity = groupCapacity(group, shape.capacity);
  const { rope, window = 0 } = layerKind(config, layer);
  const block = BLOCKS[config.block ?? "pre_norm"];
  const scoped: Declare = (name, dims, dtype) => declare(layerPrefix(layer) + name, dims, dtype);
  const ops = graphOps(config, {
    declare: scoped,
    linear: (name, input) => {
      const bits = shape.bits && linearBits(config, layer, name as LinearName, shape.bits);
      return adaptedProduct(scoped, config, { ...shape, bits }, shared, name as LinearName, input);
    },
    rotation: rope === "none" ? undefined : () => rotation(declare, config, rows * tokens, rope),
  });
  const byText = (y: Value, n: number) => transpose(reshape(y, [rows, tokens, n, hd]), 0, 2, 1, 3);
  const made = block.attentionInput(ops, x);
  const [q, k, v] = [byText(made.q, heads), byText(made.k, kv), byText(made.v, kv)];
  const cached = [scoped("k_cache", [rows, kv, capacity, hd]), scoped("v_cache", [rows, kv, capacity, hd])] as const;
  const o = cachedAttention([q, k, v], cached, shared.last.get(group)!, { ...scoring(config), window });
  return { y: block.attentionOutput(ops, x, o), k, v };
}

/**
 * A linear layer with every token's own adapter: all of them are multiplied, and what belongs to others becomes 0 before it is
 * used, so that no value of theirs, NaN or infinite, reaches it. Few rows read each factor once; gathered ones would be copied.
 */
function adaptedProduct(
  scoped: Declare,
  config: ModelConfig,
  { rank, targets, gains, biases, bits }: DecodeShape,
  { adapter }: Shared,
  name: LinearName,
  x: Value,
): Value {
  const [out, input] = linearShape(config, name);
  const frozen = product(scoped, name, [out, input], x, bits);
  const base = hasBias(config, name) ? add(frozen, scoped(`${name}.bias`, [out])) : frozen;
  if (!adapter || !targets.includes(name)) return base;
  const low = matmul(x, scoped(stackedName(name, "A"), [rank, input]), { transB: true });
  const kept = mul(where(adapter.own, low, scalar(0)), adapter.factor);
  const adapted = add(base, matmul(kept, scoped(stackedName(name, "B"), [rank, out])));
  const own = (part: "gain" | "bias") =>
    matmul(mul(adapter.picked, adapter.factor), scoped(stackedName(name, part), [rank, out]));
  const shifted = biases?.includes(name) ? add(adapted, own("bias")) : adapted;
  return gains?.includes(name) ? add(shifted, mul(frozen, own("gain"))) : shifted;
}

/** x W^T for a frozen weight [out, in]. */
function product(declare: Declare, name: string, shape: readonly [number, number], x: Value, bits?: 4 | 8): Value {
  if (!bits) return matmul(x, declare(`${name}.weight`, shape), { transB: true });
  const { codes, scales, zeros } = bitsShapes(shape, bits);
  const weight = [
    declare(`${name}.codes`, codes, "u8"),
    declare(`${name}.scales`, scales),
    declare(`${name}.zeros`, zeros, "u8"),
  ] as const;
  return matmulBits(x, ...weight, bits);
}

/** Bits of the head where the linear layers have few: a token's choice shows any error at once. */
export const HEAD_BITS = 8;

/**
 * Bits of a linear layer in a model of so many. Of 4, v_proj (or what holds it) and down_proj have 8 in the first and last eighth of the layers and
 * in every third between: llama.cpp's choice (`use_more_bits` of its Q4_K_M), as errors in these are what a model suffers most from.
 */
export function linearBits(
  { numHiddenLayers: layers }: ModelConfig,
  layer: number,
  name: LinearName,
  bits: 4 | 8,
): 4 | 8 {
  const eighth = Math.floor(layers / 8);
  const more = layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
  return more && (name === "v_proj" || name === "qkv_proj" || name === "down_proj") ? 8 : bits;
}

/** Shapes of the parts of a weight [out, in] in few bits. */
export function bitsShapes([out, input]: readonly [number, number], bits: 4 | 8) {
  const blocks = input / BITS_BLOCK;
  return {
    codes: [out, blocks, 4 * bits],
    scales: [out * blocks],
    zeros: [out * Math.ceil((blocks * bits) / 8)],
  } as const;
}
