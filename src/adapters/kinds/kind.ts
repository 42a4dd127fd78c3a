import type { Value } from "../../graph/index.js";
import type { Shape } from "../../tensor/index.js";

/** The two factors that every kind has: A [r, in] and B [out, r]. */
export const A = "lora_A.weight";
export const B = "lora_B.weight";

/** A linear layer with an adapter: its weight W is [out, in], the product B A has rank r and the factor `scale`. */
export interface AdapterSite {
  readonly out: number;
  readonly in: number;
  readonly r: number;
  readonly scale: number;
}

/** What an adapter adds to W: diag(gain) W + alpha b A; and to what the layer gives: bias. */
export interface Update {
  /** [out, r] */
  readonly b: Value;
  readonly alpha: number;
  /** [out]; undefined: W itself stays as it is. */
  readonly gain?: Value;
  /** [out]; undefined: none. */
  readonly bias?: Value;
}

/** What an update is made of. */
export interface UpdateParts {
  /** A tensor of the adapter, by its name in `tensors`. */
  tensor(name: string): Value;
  /** The L2 norms of the rows of W + scale B A [out]. No gradient flows through them. */
  norms(): Value;
}

/** A kind of adapter: its tensors, what they do to a weight, and what PEFT calls it. */
export interface AdapterKind {
  /** As people write it: "DoRA". */
  readonly title: string;
  /** The key of PEFT's configuration, and of the `lora` section, that asks for it; undefined: what there is without any. */
  readonly key?: string;
  /** What the key means, for the reference of the config. */
  readonly description?: string;
  /** Every tensor of a layer by the name that PEFT gives it behind the layer's path, with its shape, in the order they are saved. */
  tensors(site: AdapterSite): Readonly<Record<string, Shape>>;
  /** The tensor that starts at the norms of W's rows. Only a kind that has one may ask for `norms`. */
  readonly startsAtNorms?: string;
  update(parts: UpdateParts, site: AdapterSite): Update;
}
