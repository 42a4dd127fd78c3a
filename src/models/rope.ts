import { f32, type HostTensor } from "../tensor/index.js";
import { type LayerKind, layerKind, type ModelConfig, type Rope, type RopeScaling } from "./config.js";

/** A set of rotary frequencies. */
export type RopeName = Exclude<LayerKind["rope"], "none">;

/** The sets of frequencies that a model's layers turn by. */
export function ropeNames(config: ModelConfig): readonly RopeName[] {
  const used = new Set(Array.from({ length: config.numHiddenLayers }, (_, i) => layerKind(config, i).rope));
  return (["global", "local"] as const).filter((name) => used.has(name));
}

/** Pairs of dimensions that turn in one head. */
export const rotaryPairs = ({ headDim, rotaryDim = headDim }: ModelConfig): number => rotaryDim / 2;

/**
 * Rotary frequencies of one head in a text of `total` tokens, `[rotaryDim / 2]`, in radians a position: theta^(-2i/d), stretched as
 * the checkpoint says (transformers `modeling_rope_utils`).
 */
export function inverseFrequencies(config: ModelConfig, rope: RopeName = "global", total = 0): Float64Array {
  const { theta, scaling } = ropeOf(config, rope);
  const pairs = rotaryPairs(config);
  return Float64Array.from({ length: pairs }, (_, i) => stretched(theta ** (-i / pairs), scaling, i, total));
}

function stretched(frequency: number, s: RopeScaling | undefined, pair: number, total: number): number {
  switch (s?.type) {
    case undefined:
      return frequency;
    case "linear":
      return frequency / s.factor;
    case "longrope":
      return frequency / (isLong(s, total) ? s.longFactors : s.shortFactors)[pair]!;
    case "llama3": {
      const wavelength = (2 * Math.PI) / frequency;
      const turns = s.originalMaxPositionEmbeddings / wavelength;
      if (turns < s.lowFreqFactor) return frequency / s.factor;
      if (turns > s.highFreqFactor) return frequency;
      const smooth = (turns - s.lowFreqFactor) / (s.highFreqFactor - s.lowFreqFactor);
      return ((1 - smooth) * frequency) / s.factor + smooth * frequency;
    }
  }
}

const isLong = (s: RopeScaling, total: number): boolean =>
  s.type === "longrope" && total > s.originalMaxPositionEmbeddings;

/** Which of a model's frequencies a text of `total` tokens turns by: texts of one class share their tables. */
export const lengthClass = ({ ropeScaling }: ModelConfig, total: number): "short" | "long" =>
  ropeScaling && isLong(ropeScaling, total) ? "long" : "short";

function ropeOf(config: ModelConfig, rope: RopeName): Rope {
  if (rope === "local") return config.localRope!;
  const { ropeTheta: theta, ropeScaling: scaling } = config;
  return scaling ? { theta, scaling } : { theta };
}

/** What of a text its rotary tables are made for. */
export interface RopeRange {
  /** The first position. Default 0. */
  readonly start?: number;
  /** Which frequencies. Default "global". */
  readonly rope?: RopeName;
  /** Tokens of the text so far. Default: up to the range's end. */
  readonly total?: number;
}

/** cos and sin of positions [start, start + length), each `[length, rotaryDim / 2]`. */
export function ropeTables(
  config: ModelConfig,
  length: number,
  { start = 0, rope = "global", total = start + length }: RopeRange = {},
): { cos: HostTensor; sin: HostTensor } {
  const frequencies = inverseFrequencies(config, rope, total);
  const { scaling } = ropeOf(config, rope);
  const factor = scaling?.type === "longrope" ? scaling.attentionFactor : 1;
  const half = frequencies.length;
  const cos = new Float32Array(length * half);
  const sin = new Float32Array(length * half);
  for (let t = 0; t < length; t++) {
    for (let i = 0; i < half; i++) {
      const angle = (start + t) * frequencies[i]!;
      cos[t * half + i] = factor * Math.cos(angle);
      sin[t * half + i] = factor * Math.sin(angle);
    }
  }
  return { cos: f32([length, half], cos), sin: f32([length, half], sin) };
}
