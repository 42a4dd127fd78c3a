import { GraphError, isOpen } from "../graph/index.js";
import type { Shape } from "../tensor/index.js";
import type { Named, Open } from "./model.js";

/** A shape as ONNX's Reshape takes it: open sizes stay as they are in the input (0), or one is what is left (-1). */
export function reshapeSizes(from: Shape, to: Shape): number[] {
  const sizes = to.map((d, i) => (isOpen(d) ? (d === from[i] ? 0 : -1) : d));
  if (sizes.filter((d) => d < 0).length > 1)
    throw new GraphError(`reshape: [${from}] to [${to}] leaves two sizes open`);
  return sizes;
}

/** An input or output as the model declares it: every open size has a name of its own. */
export function opened({ name, dtype, shape }: Named): Open {
  return { name, dtype, shape: shape.map((d, i) => (isOpen(d) ? `${name} ${i}` : d)) };
}

/** Sizes as constants of a model. Throws GraphError for an open one: an operator that needs it cannot be lowered so. */
export function fixedSizes(shape: Shape): readonly number[] {
  if (shape.some(isOpen)) throw new GraphError(`[${shape}] has an open size where a fixed one is needed`);
  return shape;
}
