import { expect, it } from "vitest";
import { type Options, staged, stagesAsOne, stepOf } from "./staged.js";
import { readCase } from "./vectors.js";

const optimizer = { betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0, loraplusLrRatio: 4 } as const;

it.each<{ what: string; blocks: number[]; more: Options }>([
  {
    what: "two stages, dropout, noise, another rate for B",
    blocks: [1, 2],
    more: { dropout: 0.3, neftuneAlpha: 5, optimizer },
  },
  { what: "three stages, checkpointing", blocks: [1, 1, 1], more: { checkpointing: true } },
])("stages train as one rank, to the last bit: $what", ({ blocks, more }) => stagesAsOne("llama3", blocks, more));

it("what fails in one stage is told where the others wait", async () => {
  const ranks = staged("llama3", [2, 1]);
  const [first, last] = [stepOf("llama3"), [[readCase("llama3").rows[0]!]]];
  const options = { lr: 1e-2, maxGradNorm: 0 };
  const [, wrong] = await Promise.allSettled([
    Promise.race([ranks[0]!.step(first, options), new Promise((done) => setTimeout(done, 300))]),
    ranks[1]!.step(last, options),
  ]);
  expect(wrong).toMatchObject({ status: "rejected", reason: { message: expect.stringContaining("batches differ") } });
});
