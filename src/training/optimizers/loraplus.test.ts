import { expect, it } from "vitest";
import { layoutOf } from "../parameters.js";
import { loraPlus } from "./loraplus.js";

const module = "model.layers.0.self_attn.q_proj";
const SHAPES = new Map<string, readonly number[]>([
  [`${module}.lora_A.weight`, [2, 8]],
  [`${module}.lora_B.weight`, [8, 2]],
  [`${module}.lora_B.bias`, [8]],
  [`${module}.lora_magnitude_vector`, [8]],
  ["model.embed_tokens.weight", [9, 8]],
  ["model.norm.weight", [8]],
]);

it("B and vectors move at the ratio, biases without decay, all else as without, as PEFT groups them", () => {
  const { slots, groups, elements } = layoutOf(SHAPES, loraPlus(16));
  const groupOf = (name: string) => groups.findLast(({ offset }) => offset <= slots.get(name)!.offset)!;
  const moves = [...SHAPES.keys()].map((name) => [groupOf(name).rate, groupOf(name).decays]);
  expect(moves).toEqual([
    [1, true],
    [16, true],
    [16, false],
    [16, true],
    [1, true],
    [16, true],
  ]);
  expect(elements).toBe(16 + 16 + 8 + 8 + 72 + 8);
});

it("without a ratio all of them are one group, in their order", () => {
  const { slots, groups } = layoutOf(SHAPES, loraPlus(null));
  expect(groups).toEqual([{ rate: 1, decays: true, offset: 0, length: 1024 }]);
  expect([...slots.keys()]).toEqual([...SHAPES.keys()]);
});
