import { expect, it } from "vitest";
import { random } from "../tensor/random.js";
import { addedTokensUsed, rowNorms, untrainedTokens } from "./special-tokens.js";

it("trap 9: finds special tokens of the rows that the base never trained", () => {
  const [rows, width] = [50, 16];
  const rng = random(1, "embedding");
  const embedding = Float32Array.from({ length: rows * width }, () => rng.normal());
  embedding.fill(1e-6, 40 * width, 41 * width); // nearly zero
  for (const reserved of [42, 43, 44]) embedding.copyWithin(reserved * width, 41 * width, 42 * width); // one row repeated
  const used = addedTokensUsed([Int32Array.of(3, 40, 12, 49), [42, 40, 7]], new Set([40, 41, 42, 49]));
  expect(used).toEqual([40, 42, 49]);
  expect(untrainedTokens(used, rowNorms(embedding, width))).toEqual([40, 42]);
});
