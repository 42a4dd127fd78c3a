import { random, type TypedArray } from "../tensor/index.js";

/**
 * An inverted dropout mask of fp32: 1/keep with probability `keep`, else 0, drawn from the seeded stream of `labels`. The same labels
 * give the same mask.
 */
export interface DropoutMask {
  readonly keep: number;
  readonly seed: number;
  readonly labels: readonly (string | number)[];
  /** Values of the stream that are passed over: of a mask whose beginning is drawn elsewhere. Default 0. */
  readonly skip?: number;
}

/** What is uploaded: values, or what they are drawn from, where they are needed. */
export type Data = TypedArray | DropoutMask;

export const isMask = (data: Data): data is DropoutMask => "keep" in data;

/** Two 16-bit draws a 32-bit random number: the keep probability is exact to 1/65536. */
export function drawMask(mask: Float32Array, { keep, seed, labels, skip = 0 }: DropoutMask): void {
  const rng = random(seed, ...labels);
  const threshold = Math.round(keep * 65536);
  const scale = 65536 / threshold;
  for (let i = 1; i < skip; i += 2) rng.int32();
  const first = skip % 2;
  if (first === 1 && mask.length > 0) mask[0] = rng.int32() >>> 16 < threshold ? scale : 0;
  for (let i = first; i < mask.length; i += 2) {
    const bits = rng.int32();
    mask[i] = (bits & 0xffff) < threshold ? scale : 0;
    if (i + 1 < mask.length) mask[i + 1] = bits >>> 16 < threshold ? scale : 0;
  }
}
