import type { AdapterInit } from "./init.js";
import { leadingFactors } from "./leading-factors.js";

/** scale B A is the part of W along its r leading singular directions: B = U sqrt(S / scale), A = sqrt(S / scale) V^T (Meng et al. 2024). */
export const pissa: AdapterInit = {
  description: "the leading singular directions of the weight, which are taken out of it (PiSSA)",
  peft: [],
  residual: "subtracted",
  seesWeight: true,
  start: (site, rng, { weight }) => leadingFactors(weight!, site, rng),
};
