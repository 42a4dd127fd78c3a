import type { AdapterInit } from "./init.js";

/** A from N(0, 1/r^2), B zero: PEFT's "gaussian". */
export const gaussian: AdapterInit = {
  description: "A normal with deviation 1/r, B zero",
  peft: ["gaussian"],
  start: ({ r, in: into }, rng) => ({ a: Float32Array.from({ length: r * into }, () => rng.normal() / r) }),
};
