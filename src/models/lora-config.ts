import type { LinearName } from "./config.js";

/** How A is drawn: PEFT's `init_lora_weights` "gaussian" (std 1/r) or its default Kaiming-uniform (a = sqrt 5). */
export type LoraInit = "gaussian" | "kaiming";

/** A LoRA adapter's shape and scale, resolved against a model (no patterns left). */
export interface LoraConfig {
  readonly r: number;
  readonly alpha: number;
  readonly dropout: number;
  readonly useRslora: boolean;
  readonly init: LoraInit;
  /** The linear layers that carry an adapter. */
  readonly targetModules: readonly LinearName[];
  /** The layer indices that carry adapters; undefined: every layer. */
  readonly layersToTransform?: readonly number[];
}

/** The factor on BA: alpha / r, or alpha / sqrt(r) with rsLoRA (Kalajdzievski 2023, eq. 4). */
export function loraScale(lora: Pick<LoraConfig, "alpha" | "r" | "useRslora">): number {
  return lora.alpha / (lora.useRslora ? Math.sqrt(lora.r) : lora.r);
}
