import { truncatedSvd } from "../../tensor/index.js";
import type { AdapterInit } from "./init.js";

/** Up to this width a weight is decomposed exactly; beyond it by four rounds of power iteration, as PEFT's "pissa_niter_4". */
const METHOD = { exact: 128, rounds: 4 };

/** scale B A is the part of W along its r leading singular directions: B = U sqrt(S / scale), A = sqrt(S / scale) V^T (Meng et al. 2024). */
export const pissa: AdapterInit = {
  description: "the leading singular directions of the weight, which are taken out of it (PiSSA)",
  peft: [],
  residual: true,
  seesWeight: true,
  async start({ out, in: into, r, scale }, rng, weight) {
    const { u, s, v } = await truncatedSvd(weight!, [out, into], r, rng, METHOD);
    const [a, b] = [new Float32Array(r * into), new Float32Array(out * r)];
    for (let k = 0; k < r; k++) {
      const root = Math.sqrt(s[k]! / scale);
      for (let i = 0; i < into; i++) a[k * into + i] = root * v[k]![i]!;
      for (let o = 0; o < out; o++) b[o * r + k] = root * u[k]![o]!;
    }
    return { a, b };
  },
};
