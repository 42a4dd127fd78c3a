import { add, define, mul, reciprocal, scalar, sqrt, sub } from "../../graph/index.js";
import type { Optimizer, OptimizerKind, OptimizerOptions } from "./optimizer.js";

/** AdamW (Loshchilov & Hutter 2019, algorithm 2), as torch.optim.AdamW computes it. */
export const adamW: OptimizerKind = {
  description: "AdamW with decoupled weight decay, as PyTorch's",
  uses: ["betas", "eps", "weightDecay"],
  create: ({ betas: [b1, b2], eps, weightDecay }: OptimizerOptions): Optimizer => ({
    slots: (shape) => ({ first_moments: shape, second_moments: shape }),
    step: (shape) =>
      define("adamw", (declare) => {
        const p = declare("param", shape);
        const scale = (name: string) => declare(name, [1]);
        const g = mul(declare("grad", shape), scale("clip"));
        const m = add(mul(declare("first_moments", shape), scalar(b1)), mul(g, scalar(1 - b1)));
        const v = add(mul(declare("second_moments", shape), scalar(b2)), mul(mul(g, g), scalar(1 - b2)));
        const denominator = add(mul(sqrt(v), scale("correction")), scale("eps"));
        const update = mul(mul(m, reciprocal(denominator)), scale("rate"));
        return { new_param: sub(mul(p, scale("decay")), update), new_first_moments: m, new_second_moments: v };
      }),
    scalars: (lr, step, decays = true) => ({
      decay: decays ? 1 - lr * weightDecay : 1,
      rate: lr / (1 - b1 ** step),
      correction: 1 / Math.sqrt(1 - b2 ** step),
      eps,
    }),
  }),
};
