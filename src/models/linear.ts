import { add, type Declare, define, type Fn, matmul, mul, type Value } from "../graph/index.js";
import { hasBias, type LinearName, linearShape, type ModelConfig } from "./config.js";
import type { BlockLora, LinearLora } from "./lora-config.js";

/** What varies between the blocks of a model: which linear layers carry an adapter, and whether dropout is on. */
export interface Adaptation {
  /** The adapters of this block; undefined: the bare model. */
  readonly lora?: BlockLora | undefined;
  /** Share of adapter inputs to drop: above 0 they are multiplied by a `dropout_mask` input. */
  readonly dropout?: number;
}

/** What the input is called that a linear layer's adapter multiplies its own input by. */
export const dropoutMaskName = (name: LinearName): string => `${name}.dropout_mask`;

/** Shapes of one adapter: A is [r, in], B is [out, r]. */
export function loraShapes(
  config: ModelConfig,
  name: LinearName,
  r: number,
): { A: readonly number[]; B: readonly number[] } {
  const [out, input] = linearShape(config, name);
  return { A: [r, input], B: [out, r] };
}

/**
 * y = x W^T (+ b), and with an adapter + scale (dropout(x) A^T) B^T (Hu et al. 2021, eq. 3). x: [N, in], y: [N, out].
 * Declares `${name}.weight`, `.bias`, `.lora_A.weight`, `.lora_B.weight` and `.dropout_mask` as needed.
 */
export function linear(
  declare: Declare,
  config: ModelConfig,
  name: LinearName,
  x: Value,
  { lora, dropout }: Adaptation,
): Value {
  const shape = linearShape(config, name);
  const frozen = matmul(x, declare(`${name}.weight`, shape), { transB: true });
  const base = hasBias(config, name) ? add(frozen, declare(`${name}.bias`, [shape[0]])) : frozen;
  const adapter = lora?.[name];
  if (!adapter) return base;
  const { A, B } = loraShapes(config, name, adapter.r);
  const a = declare(`${name}.lora_A.weight`, A);
  const b = declare(`${name}.lora_B.weight`, B);
  const dropped = dropout ? mul(x, declare(dropoutMaskName(name), x.shape)) : x;
  const low = matmul(dropped, a, { transB: true });
  return add(base, matmul(low, b, { transB: true, alpha: adapter.scale }));
}

/** The weight of a linear layer with its adapter folded in: W + sign scale B A, with sign -1 to take it out again. */
export function foldedWeight(config: ModelConfig, name: LinearName, { r, scale }: LinearLora, sign: 1 | -1): Fn {
  const { A, B } = loraShapes(config, name, r);
  return define("folded_weight", (declare) => {
    const low = matmul(declare("lora_B.weight", B), declare("lora_A.weight", A), { alpha: sign * scale });
    return { folded: add(declare("weight", linearShape(config, name)), low) };
  });
}
