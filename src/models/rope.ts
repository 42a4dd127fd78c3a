import { f32, type HostTensor } from "../tensor/index.js";
import { type LayerKind, type LlamaConfig, layerKind, type Rope } from "./config.js";

/** A set of rotary frequencies. */
export type RopeName = Exclude<LayerKind["rope"], "none">;

/** The sets of frequencies that a model's layers turn by. */
export function ropeNames(config: LlamaConfig): readonly RopeName[] {
  const used = new Set(Array.from({ length: config.numHiddenLayers }, (_, i) => layerKind(config, i).rope));
  return (["global", "local"] as const).filter((name) => used.has(name));
}

/** Pairs of dimensions that turn in one head. */
export const rotaryPairs = ({ headDim, rotaryDim = headDim }: LlamaConfig): number => rotaryDim / 2;

/**
 * Rotary frequencies of one head, `[rotaryDim / 2]`, in radians a position: theta^(-2i/d), stretched as the checkpoint says
 * (transformers `modeling_rope_utils`: "linear" and "llama3").
 */
export function inverseFrequencies(config: LlamaConfig, rope: RopeName = "global"): Float64Array {
  const { theta, scaling: s } = ropeOf(config, rope);
  const pairs = rotaryPairs(config);
  return Float64Array.from({ length: pairs }, (_, i) => {
    const frequency = theta ** (-i / pairs);
    if (!s) return frequency;
    if (s.type === "linear") return frequency / s.factor;
    const wavelength = (2 * Math.PI) / frequency;
    const turns = s.originalMaxPositionEmbeddings / wavelength;
    if (turns < s.lowFreqFactor) return frequency / s.factor;
    if (turns > s.highFreqFactor) return frequency;
    const smooth = (turns - s.lowFreqFactor) / (s.highFreqFactor - s.lowFreqFactor);
    return ((1 - smooth) * frequency) / s.factor + smooth * frequency;
  });
}

function ropeOf(config: LlamaConfig, rope: RopeName): Rope {
  if (rope === "local") return config.localRope!;
  const { ropeTheta: theta, ropeScaling: scaling } = config;
  return scaling ? { theta, scaling } : { theta };
}

/** cos and sin of positions [start, start + length), each `[length, rotaryDim / 2]`. */
export function ropeTables(
  config: LlamaConfig,
  length: number,
  start = 0,
  rope: RopeName = "global",
): { cos: HostTensor; sin: HostTensor } {
  const frequencies = inverseFrequencies(config, rope);
  const half = frequencies.length;
  const cos = new Float32Array(length * half);
  const sin = new Float32Array(length * half);
  for (let t = 0; t < length; t++) {
    for (let i = 0; i < half; i++) {
      const angle = (start + t) * frequencies[i]!;
      cos[t * half + i] = Math.cos(angle);
      sin[t * half + i] = Math.sin(angle);
    }
  }
  return { cos: f32([length, half], cos), sin: f32([length, half], sin) };
}
