import { type AdapterValues, declareAdapter } from "../adapters/index.js";
import { add, type Declare, matmul, mul, type Value } from "../graph/index.js";
import { hasBias, type LinearName, linearShape, type ModelConfig } from "./config.js";
import { adapterSite, type BlockLora } from "./lora-config.js";

/** What varies between the blocks of a model: which linear layers carry an adapter, and whether dropout is on. */
export interface Adaptation {
  /** The adapters of this block; undefined: the bare model. */
  readonly lora?: BlockLora | undefined;
  /** Share of adapter inputs to drop: above 0 they are multiplied by a `dropout_mask` input. */
  readonly dropout?: number;
}

/** What the input is called that a linear layer's adapter multiplies its own input by. */
export const dropoutMaskName = (name: LinearName): string => `${name}.dropout_mask`;

/**
 * y = x W^T (+ b), and what an adapter adds: (dropout(x) W^T) diag(gain) + alpha (dropout(x) A^T) b^T (+ bias). x: [N, in], y: [N, out].
 * Declares `${name}.weight`, `.bias`, the adapter's tensors and `.dropout_mask` as needed; also `.weight_norm` where the kind
 * asks for it, and `.start_A`, `.start_B` where the start is taken out of W.
 */
export function linear(
  declare: Declare,
  config: ModelConfig,
  name: LinearName,
  x: Value,
  { lora, dropout }: Adaptation,
): Value {
  const [out, into] = linearShape(config, name);
  const adapter = lora?.[name];
  const product = (input: Value): Value => {
    const whole = matmul(input, declare(`${name}.weight`, [out, into]), { transB: true });
    if (!adapter?.residual) return whole;
    const { r, scale } = adapter;
    const low = matmul(input, declare(`${name}.start_A`, [r, into]), { transB: true });
    return add(whole, matmul(low, declare(`${name}.start_B`, [out, r]), { transB: true, alpha: -scale }));
  };
  const frozen = product(x);
  const base = hasBias(config, name) ? add(frozen, declare(`${name}.bias`, [out])) : frozen;
  if (!adapter) return base;
  const values = declareAdapter(declare, `${name}.`, adapterSite(config, name, adapter));
  if (!dropout) return adapted(base, x, frozen, values);
  const dropped = mul(x, declare(dropoutMaskName(name), x.shape));
  return adapted(base, dropped, values.gain && product(dropped), values);
}

/** `frozen` is x W^T, which only a gain needs. */
function adapted(base: Value, x: Value, frozen: Value | undefined, { a, b, alpha, gain, bias }: AdapterValues): Value {
  const gained = gain && frozen ? add(base, mul(frozen, gain)) : base;
  const changed = add(gained, matmul(matmul(x, a, { transB: true }), b, { transB: true, alpha }));
  return bias ? add(changed, bias) : changed;
}
