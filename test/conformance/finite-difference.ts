import { type Fn, gradient, interpret, type Reference, type SavePolicy } from "../../src/graph/index.js";
import { type HostTensor, random } from "../../src/tensor/index.js";

type Inputs = Readonly<Record<string, HostTensor | Reference>>;

/** A float64 standard normal tensor, the same for the same label. */
export function normal(label: string, shape: readonly number[]): Reference {
  const rng = random(11, label);
  return {
    shape,
    data: Float64Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => rng.normal()),
  };
}

/** Gradients of sum(seed * output) by `gradient`, forward and backward run in float64. */
export function analytic(f: Fn, inputs: Inputs, wrt: readonly string[], save: SavePolicy): Record<string, Reference> {
  const { forward, backward } = gradient(f, wrt, save);
  const results = interpret(forward, inputs);
  const seeds = Object.fromEntries(Object.entries(f.outputs).map(([name, v]) => [`d_${name}`, normal(name, v.shape)]));
  return Object.keys(backward.outputs).length ? interpret(backward, { ...inputs, ...results, ...seeds }) : {};
}

/**
 * The derivative of sum(seed * output) along a random direction of the inputs `wrt`, twice: by central differences of
 * fourth order in float64, and from given gradients.
 */
export function directional(
  f: Fn,
  inputs: Inputs,
  wrt: readonly string[],
  gradients: Readonly<Record<string, Reference>>,
): { numeric: number; analytic: number } {
  const directions = Object.fromEntries(wrt.map((name) => [name, normal(`direction ${name}`, inputs[name]!.shape)]));
  const h = 1e-4;
  const at = (step: number) => {
    const moved = Object.fromEntries(
      wrt.map((name) => {
        const from = inputs[name]!.data as ArrayLike<number>;
        return [name, { shape: inputs[name]!.shape, data: directions[name]!.data.map((d, i) => from[i]! + step * d) }];
      }),
    );
    const results = interpret(f, { ...inputs, ...moved });
    return Object.entries(results).reduce((sum, [name, y]) => sum + dot(normal(name, y.shape).data, y.data), 0);
  };
  const exact = wrt.reduce((sum, name) => sum + dot(gradients[`d_${name}`]!.data, directions[name]!.data), 0);
  return { numeric: (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h), analytic: exact };
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}

/** max |a - b| over the largest |b|. */
export function relativeError(a: ArrayLike<number | bigint>, b: ArrayLike<number>): number {
  let error = 0;
  let size = 1e-30;
  for (let i = 0; i < b.length; i++) {
    const difference = Math.abs(Number(a[i]) - b[i]!);
    error = Math.max(error, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
    size = Math.max(size, Math.abs(b[i]!));
  }
  return a.length === b.length ? error / size : Number.POSITIVE_INFINITY;
}
