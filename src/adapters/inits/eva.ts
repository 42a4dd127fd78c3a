import type { AdapterInit } from "./init.js";

/** A is made of the leading principal components of what the layer is given on the rows that are trained on, B zero (Paischer et al. 2024). */
export const eva: AdapterInit = {
  description: "A of the leading principal components of the layer's inputs on the training rows, B zero (EVA)",
  peft: ["eva"],
  seesInputs: true,
  start: (_site, _rng, { components }) => ({ a: components! }),
};
