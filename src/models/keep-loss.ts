import {
  cast,
  define,
  type Fn,
  gather,
  matmul,
  mul,
  reduceSum,
  reshape,
  softmax,
  sub,
  type Value,
  vjp,
} from "../graph/index.js";
import type { ModelConfig } from "./config.js";
import { normed, scaled } from "./graph-ops.js";
import { logitsWithSlope, logSum } from "./loss.js";

/**
 * Final norm and head of `m` chosen rows of x [N, D], and how far their distributions Q are from those P of the base, with the
 * gradient in the same pass: by the logits it is Q - P.
 *
 * Inputs: x, rows [m], base [m, D] (the base's stream at these rows), weights [m] (a row's share in the loss; 0 for filling).
 * Outputs: loss [1] = sum of weights * KL(P || Q), d_rows [m, D]. Equal logits give exactly 0.
 * With a bf16 head only its products are in bf16: of two near distributions little but rounding would be left.
 */
export function keepHead(config: ModelConfig, n: number, m: number, dtype: "f32" | "bf16" = "f32"): Fn {
  return define("keep_head", (declare): Record<string, Value> => {
    const { vocabSize, hiddenSize: d, logitScale: factor = 1 } = config;
    const weights = reshape(declare("weights", [m]), [m, 1]);
    const x = gather(declare("x", [n, d]), declare("rows", [m], "i64"));
    const norm = declare("norm.weight", [d]);
    const head = declare("lm_head.weight", [vocabSize, d], dtype);
    const h = normed(config, x, norm);
    const full = (v: Value) => cast(v, "f32");
    const logitsAt = (hidden: Value) => logitsWithSlope(config, cast(scaled(hidden, factor), dtype), head);
    const p = full(logitsAt(normed(config, declare("base", [m, d]), norm)).logits);
    const { logits, slope } = logitsAt(h);
    const q = full(logits);
    const [base, tuned] = [softmax(p), softmax(q)];
    const expected = reduceSum(mul(base, sub(p, q)), 1);
    const kl = sub(expected, sub(logSum(p, base), logSum(q, tuned)));
    const wrong = slope ? mul(sub(tuned, base), full(slope)) : sub(tuned, base);
    const dh = scaled(mul(full(matmul(cast(wrong, dtype), head)), weights), factor);
    return {
      loss: reshape(reduceSum(mul(kl, weights), 0), [1]),
      d_rows: vjp([[h, dh]], [x]).get(x)!,
    };
  });
}
