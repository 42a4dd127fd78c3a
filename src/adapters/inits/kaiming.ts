import type { AdapterInit } from "./init.js";

/** A uniform in +-1/sqrt(in), B zero: PEFT's default (Kaiming-uniform with a = sqrt 5). PEFT's other starts that leave the base alone are read as it. */
export const kaiming: AdapterInit = {
  description: "A uniform in +-1/sqrt(in), as PEFT's default, B zero",
  peft: [true, false, "orthogonal"],
  start({ r, in: into }, rng) {
    const bound = 1 / Math.sqrt(into);
    return { a: Float32Array.from({ length: r * into }, () => (2 * rng.uniform() - 1) * bound) };
  },
};
