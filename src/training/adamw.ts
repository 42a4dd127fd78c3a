import { add, define, type Fn, mul, reciprocal, reduceSum, reshape, scalar, sqrt, sub } from "../graph/index.js";

export interface AdamWOptions {
  /** Default [0.9, 0.999]. */
  readonly betas: readonly [number, number];
  /** Default 1e-8. */
  readonly eps: number;
  /** Decoupled decay, default 0.01. */
  readonly weightDecay: number;
}

/** Flat vectors are padded to whole rows of this many elements, so that sums run row by row and keep their precision. */
export const ROW = 1024;

/** grad [n] -> squared L2 norm [1], summed row by row. n is a multiple of ROW. */
export function squaredNorm(n: number): Fn {
  return define("squared_norm", (declare) => {
    const g = reshape(declare("grad", [n]), [n / ROW, ROW]);
    return { squared_norm: reshape(reduceSum(reduceSum(mul(g, g), 1), 0), [1]) };
  });
}

/** Sum of two gradients [n]. */
export function accumulate(n: number): Fn {
  return define("accumulate", (declare) => ({ sum: add(declare("a", [n]), declare("b", [n])) }));
}

/** The numbers of one AdamW step that are the same for every element: [1]-shaped inputs of the program, by name. */
export function adamWScalars(options: AdamWOptions, lr: number, step: number, clip: number): Record<string, number> {
  const [b1, b2] = options.betas;
  return {
    clip,
    decay: 1 - lr * options.weightDecay,
    rate: lr / (1 - b1 ** step),
    correction: 1 / Math.sqrt(1 - b2 ** step),
    eps: options.eps,
  };
}

/**
 * One AdamW step (Loshchilov & Hutter 2019, algorithm 2, as torch.optim.AdamW computes it) on flat vectors [n]:
 * param, grad, m, v -> new_param, new_m, new_v. The scalars come from `adamWScalars`.
 */
export function adamW(n: number, { betas: [b1, b2] }: AdamWOptions): Fn {
  return define("adamw", (declare) => {
    const p = declare("param", [n]);
    const scale = (name: string) => declare(name, [1]);
    const g = mul(declare("grad", [n]), scale("clip"));
    const m = add(mul(declare("m", [n]), scalar(b1)), mul(g, scalar(1 - b1)));
    const v = add(mul(declare("v", [n]), scalar(b2)), mul(mul(g, g), scalar(1 - b2)));
    const denominator = add(mul(sqrt(v), scale("correction")), scale("eps"));
    const update = mul(mul(m, reciprocal(denominator)), scale("rate"));
    return { new_param: sub(mul(p, scale("decay")), update), new_m: m, new_v: v };
  });
}
