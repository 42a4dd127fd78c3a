import { withProduct } from "../host-update.js";
import type { AdapterInit, Factors } from "./init.js";
import { leadingFactors } from "./leading-factors.js";

/**
 * scale B A is what is lost of W by holding it in few bits, along its r leading singular directions (Li et al. 2023, algorithm 1). Further
 * rounds hold W - scale B A, and take what that loses of W.
 */
export const loftq: AdapterInit = {
  description: "what holding the weight in few bits loses, along its leading singular directions (LoftQ)",
  peft: [],
  residual: "held",
  seesWeight: true,
  async start(site, rng, { weight, held, rounds }) {
    let taken: Factors | undefined;
    for (let round = 1; ; round++) {
      const kept = await held!(taken ? await withProduct(weight!, site, taken, -1) : weight!);
      const factors = await leadingFactors(
        kept.map((value, i) => weight![i]! - value),
        site,
        rng,
      );
      if (round >= rounds!) return { ...factors, ...(taken ? { taken } : {}) };
      taken = factors;
    }
  },
};
