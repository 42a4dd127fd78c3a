import { random } from "../tensor/index.js";
import { type BatchLayout, textLength } from "./batch-layout.js";

/**
 * Noise on the embeddings of a micro-batch [N, D], as NEFTune has it (Jain et al. 2023, algorithm 1): uniform within alpha / sqrt(L D),
 * L the length of the text that a token is in, of texts with a shared beginning the longest one; 0 where there is only filling. The same seed and labels draw the same.
 */
export function embeddingNoise(
  { segments, padded }: BatchLayout,
  width: number,
  alpha: number,
  seed: number,
  labels: readonly (string | number)[],
): Float32Array {
  const rng = random(seed, "neftune", ...labels);
  const noise = new Float32Array(padded * width);
  for (const segment of segments) {
    const { start, length } = segment;
    const most = alpha / Math.sqrt(textLength(segment) * width);
    for (let i = start * width; i < (start + length) * width; i++) noise[i] = most * (2 * rng.uniform() - 1);
  }
  return noise;
}
