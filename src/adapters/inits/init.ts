import type { Random } from "../../tensor/index.js";
import type { AdapterSite } from "../kinds/index.js";

/** Start values of one layer's factors: A [r, in]; B [out, r], zero where there is none. */
export interface StartFactors {
  readonly a: Float32Array;
  readonly b?: Float32Array;
}

/** How a fresh adapter's factors start. */
export interface AdapterInit {
  /** A few words for the reference of the config. */
  readonly description: string;
  /** PEFT's values of `init_lora_weights` that leave the base as it is and are read as this one; the first is written. */
  readonly peft: readonly unknown[];
  /**
   * The start is taken out of the base: while training, W - scale B A of the start stands in its place, so that a fresh adapter changes
   * nothing. What is saved is plain LoRA of twice the rank on the base as it is.
   */
  readonly residual?: boolean;
  /** `weight` [out, in] is given where `seesWeight`. */
  readonly seesWeight?: boolean;
  start(site: AdapterSite, rng: Random, weight?: Float32Array): StartFactors | Promise<StartFactors>;
}
