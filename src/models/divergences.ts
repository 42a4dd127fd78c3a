import {
  add,
  exp,
  lessOrEqual,
  log,
  mul,
  neg,
  reduceSum,
  scalar,
  softmax,
  sub,
  type Value,
  where,
} from "../graph/index.js";
import { logSum } from "./loss.js";

/** How far distributions Q of logits q [m, V] are from P of p [m, V], row by row. */
export interface Distance {
  readonly value: Value; // [m, 1]
  /** Its derivative by q [m, V]. */
  readonly slope: Value;
  /** Q itself. */
  readonly probabilities: Value;
}

/** `share` is P's in the mixture that "jsd" compares both with. */
type Divergence = (p: Value, q: Value, share: number) => Distance;

/** log P - log Q and both distributions [m, V]. */
function logRatio(p: Value, q: Value) {
  const [P, Q] = [softmax(p), softmax(q)];
  return { P, Q, ratio: sub(sub(p, q), sub(logSum(p, P), logSum(q, Q))) };
}

/**
 * KL(P || Q), KL(Q || P), and of the mixture M = share P + (1 - share) Q: share KL(P || M) + (1 - share) KL(Q || M), the generalised
 * Jensen-Shannon divergence (Agarwal et al. 2024, eq. 1; TRL's `generalized_jsd_loss` at beta 0, 1 and share). Equal logits give exactly 0.
 */
export const DIVERGENCES = {
  forward: (p, q) => {
    const [P, Q] = [softmax(p), softmax(q)];
    const expected = reduceSum(mul(P, sub(p, q)), 1);
    return { value: sub(expected, sub(logSum(p, P), logSum(q, Q))), slope: sub(Q, P), probabilities: Q };
  },
  reverse: (p, q) => {
    const { Q, ratio } = logRatio(p, q);
    const value = neg(reduceSum(mul(Q, ratio), 1));
    return { value, slope: neg(mul(Q, add(ratio, value))), probabilities: Q };
  },
  jsd: (p, q, share) => {
    const { P, Q, ratio } = logRatio(p, q);
    const above = mixed(ratio, share); // log M - log Q
    const near = neg(reduceSum(mul(Q, above), 1)); // KL(Q || M)
    const far = reduceSum(mul(P, sub(ratio, above)), 1);
    const value = add(mul(far, scalar(share)), mul(near, scalar(1 - share)));
    return { value, slope: mul(mul(Q, add(above, near)), scalar(share - 1)), probabilities: Q };
  },
} as const satisfies Record<string, Divergence>;

export type DivergenceName = keyof typeof DIVERGENCES;

/** log(1 - share + share e^x), without overflow. */
function mixed(x: Value, share: number): Value {
  const zero = scalar(0);
  const most = where(lessOrEqual(x, zero), zero, x);
  const parts = add(mul(exp(neg(most)), scalar(1 - share)), mul(exp(sub(x, most)), scalar(share)));
  return add(most, log(parts));
}
