import { it } from "vitest";
import { stagesAsOne } from "./staged.js";
import { CASES, readCase } from "./vectors.js";

it.each(CASES)("two stages train as one rank, to the last bit: %s", (name) =>
  stagesAsOne(name, readCase(name).config.numHiddenLayers === 3 ? [1, 2] : [1, 1]),
);
