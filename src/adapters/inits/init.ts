import type { Random } from "../../tensor/index.js";
import type { AdapterSite } from "../kinds/index.js";

/** Two factors of a layer: A [r, in] and B [out, r]. */
export interface Factors {
  readonly a: Float32Array;
  readonly b: Float32Array;
}

/** Start values of one layer's factors: A [r, in]; B [out, r], zero where there is none. */
export interface StartFactors extends Partial<Factors> {
  readonly a: Float32Array;
  /** Factors whose scale B A is taken out of the weight before it is held. Default: it is held whole. */
  readonly taken?: Factors;
}

/** What a start may see beside the layer's sizes, each where the start asks for it. */
export interface Seen {
  /** The weight [out, in]. */
  readonly weight?: Float32Array;
  /** What values [out, in] are in the place of the weight, as the base is held in memory. */
  readonly held?: (values: Float32Array) => Promise<Float32Array>;
  /** How often the base is held anew, each time without what the factors say. */
  readonly rounds?: number;
  /** Leading components of the layer's inputs [r, in]. */
  readonly components?: Float32Array;
}

/** How a fresh adapter's factors start. */
export interface AdapterInit {
  /** A few words for the reference of the config. */
  readonly description: string;
  /** PEFT's values of `init_lora_weights` that leave the base as it is and are read as this one; the first is written. */
  readonly peft: readonly unknown[];
  /**
   * The start is a part of the base, and what is saved is plain LoRA of twice the rank on the base as it is: what was trained, less the start.
   * "subtracted": while training, W - scale B A of the start stands in the place of W, so that a fresh adapter changes nothing. "held":
   * the base as it is held in memory lacks nearly that.
   */
  readonly residual?: "subtracted" | "held";
  /** The weight is given. */
  readonly seesWeight?: boolean;
  /** Components of the layer's inputs are given, which a model has to be run for; they also say how ranks are shared out. */
  readonly seesInputs?: boolean;
  start(site: AdapterSite, rng: Random, seen: Seen): StartFactors | Promise<StartFactors>;
}
