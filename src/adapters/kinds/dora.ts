import { add, div, mul, reshape, sub } from "../../graph/index.js";
import { A, type AdapterKind, B } from "./kind.js";

const MAGNITUDE = "lora_magnitude_vector";

/**
 * diag(m / n) (W + scale B A), n the norms of the rows of W + scale B A (Liu et al. 2024, eq. 5; n is a constant to the gradient,
 * section 4.3). The gain m / n - 1 is taken as (m - n) / n: what m has learnt is small beside m, and loses no digits so.
 */
export const dora = {
  title: "DoRA",
  key: "use_dora",
  description: "DoRA: each row of the adapted weight also gets a magnitude of its own, which is trained.",
  tensors: ({ out, in: into, r }) => ({ [A]: [r, into], [B]: [out, r], [MAGNITUDE]: [out] }),
  startsAtNorms: MAGNITUDE,
  update({ tensor, norms }, { out, scale }) {
    const b = tensor(B);
    const n = norms();
    const gain = div(sub(tensor(MAGNITUDE), n), n);
    return { b: add(b, mul(b, reshape(gain, [out, 1]))), alpha: scale, gain };
  },
} as const satisfies AdapterKind;
