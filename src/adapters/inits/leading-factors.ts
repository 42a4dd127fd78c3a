import { type Random, truncatedSvd } from "../../tensor/index.js";
import type { AdapterSite } from "../kinds/index.js";
import type { Factors } from "./init.js";

/** Up to this width a matrix is decomposed exactly; beyond it by four rounds of power iteration, as PEFT's "pissa_niter_4". */
const METHOD = { exact: 128, rounds: 4 };

/** Factors whose scale B A is the part of a matrix [out, in] along its r leading singular directions: U sqrt(S / scale), sqrt(S / scale) V^T. */
export async function leadingFactors(matrix: Float32Array, site: AdapterSite, rng: Random): Promise<Factors> {
  const { out, in: into, r, scale } = site;
  const { u, s, v } = await truncatedSvd(matrix, [out, into], r, rng, METHOD);
  const [a, b] = [new Float32Array(r * into), new Float32Array(out * r)];
  for (let k = 0; k < r; k++) {
    const root = Math.sqrt(s[k]! / scale);
    for (let i = 0; i < into; i++) a[k * into + i] = root * v[k]![i]!;
    for (let o = 0; o < out; o++) b[o * r + k] = root * u[k]![o]!;
  }
  return { a, b };
}
