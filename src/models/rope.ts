import { f32, type HostTensor } from "../tensor/index.js";
import type { LlamaConfig } from "./config.js";

/**
 * Rotary frequencies of one head, `[headDim / 2]`, in radians a position: theta^(-2i/d), stretched as the checkpoint says
 * (transformers `modeling_rope_utils`: "linear" and "llama3").
 */
export function inverseFrequencies(config: LlamaConfig): Float64Array {
  const { headDim, ropeTheta, ropeScaling: s } = config;
  return Float64Array.from({ length: headDim / 2 }, (_, i) => {
    const frequency = ropeTheta ** ((-2 * i) / headDim);
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

/** cos and sin of positions [start, start + length), each `[length, headDim / 2]`. */
export function ropeTables(config: LlamaConfig, length: number, start = 0): { cos: HostTensor; sin: HostTensor } {
  const frequencies = inverseFrequencies(config);
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
