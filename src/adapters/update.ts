import {
  add,
  type Declare,
  define,
  div,
  type Fn,
  lessOrEqual,
  matmul,
  mul,
  reduceSum,
  reshape,
  scalar,
  sqrt,
  transpose,
  type Value,
  where,
} from "../graph/index.js";
import { A, B, type KindName, type KindSite, kindOf, type Update } from "./kinds/index.js";

/** An adapter in a graph: A beside what its kind makes of the rest. */
export interface AdapterValues extends Update {
  readonly a: Value;
}

/** Declares an adapter's tensors behind `prefix`, and `weight_norm` where its kind asks for the norms. */
export function declareAdapter(declare: Declare, prefix: string, site: KindSite): AdapterValues {
  const kind = kindOf(site.kind);
  const shapes = kind.tensors(site);
  const tensor = (name: string) => declare(prefix + name, shapes[name]!);
  const norms = () => declare(`${prefix}weight_norm`, [site.out]);
  return { a: tensor(A), ...kind.update({ tensor, norms }, site) };
}

/**
 * The norms of the rows of W + scale B A; with `residual`, of what is left of W when the start is taken out of it. Inputs:
 * `weight`, the two factors, `start_A` and `start_B`, behind `prefix`. Output: `norms` [out].
 */
export function weightNorms(prefix: string, site: KindSite & { readonly residual?: boolean }): Fn {
  const { out, in: into, r, scale, residual } = site;
  return define("weight_norms", (declare) => {
    const product = (b: string, a: string, alpha: number) =>
      matmul(declare(prefix + b, [out, r]), declare(prefix + a, [r, into]), { alpha });
    const weight = declare(`${prefix}weight`, [out, into]);
    const left = residual ? add(weight, product("start_B", "start_A", -scale)) : weight;
    const whole = add(left, product(B, A, scale));
    return { norms: reshape(sqrt(reduceSum(mul(whole, whole), 1)), [out]) };
  });
}

/** The adapter folded into its weight, or with sign -1 taken out of it. Inputs as `declareAdapter` has them, and `weight`. */
export function foldedWeight(site: KindSite, sign: 1 | -1): Fn {
  const { out, in: into } = site;
  return define("folded_weight", (declare) => {
    const { a, b, alpha, gain } = declareAdapter(declare, "", site);
    const weight = declare("weight", [out, into]);
    const low = matmul(b, a, { alpha: sign * alpha });
    if (!gain) return { folded: add(weight, low) };
    const rows = reshape(add(gain, scalar(1)), [out, 1]);
    return { folded: sign === 1 ? add(mul(weight, rows), low) : div(add(weight, low), rows) };
  });
}

/** What stands for a value that is no finite number: it ruins its own text as well, but times 0 it is 0. */
const HUGE = 3e38;

const finite = (x: Value): Value => where(lessOrEqual(mul(x, scalar(0)), scalar(0)), x, scalar(HUGE));

/** What adapters of a kind have beside b and A. */
export const VECTORS = ["gain", "bias"] as const;
export type VectorName = (typeof VECTORS)[number];

/** Which of them a kind has. */
export const vectorsOf = (kind?: KindName): VectorName[] => {
  const { outputs } = stackedAdapter({ kind: kind ?? "lora", out: 1, in: 1, r: 1, scale: 1 });
  return VECTORS.filter((name) => outputs[name] !== undefined);
};

/** An adapter's share in its layer's bias: bias [out] plus it, or with sign -1 less it. Inputs as `declareAdapter` has them, and `layer_bias`. */
export function foldedBias(site: KindSite, sign: 1 | -1): Fn {
  return define("folded_bias", (declare) => {
    const { bias } = declareAdapter(declare, "", site);
    return { folded: add(declare("layer_bias", [site.out]), mul(bias!, scalar(sign))) };
  });
}

/** An adapter as decoding stacks it: `stacked` [r, out] is b^T times alpha, `gain` and `bias` [1, out] where its kind has them; all finite. */
export function stackedAdapter(site: KindSite): Fn {
  return define("stacked_adapter", (declare) => {
    const { b, alpha, ...vectors } = declareAdapter(declare, "", site);
    const stacked = finite(mul(transpose(b, 1, 0), scalar(alpha)));
    const own = VECTORS.flatMap((name) => {
      const vector = vectors[name];
      return vector ? [[name, reshape(finite(vector), [1, site.out])] as const] : [];
    });
    return { stacked, ...Object.fromEntries(own) };
  });
}
