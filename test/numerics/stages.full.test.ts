import { expect, it } from "vitest";
import { createObjective } from "../../src/training/objectives/index.js";
import { stagesOf } from "../../src/training/stages/stage.js";
import type { TrainerState } from "../../src/training/trainer.js";
import { ranksInProcess } from "./in-process.js";
import { staged, stagesAsOne, stepOf, tensorsOf, trainerOn, values } from "./staged.js";
import { CASES, readCase, worstError } from "./vectors.js";

it.each(CASES)("two stages train as one rank, to the last bit: %s", (name) =>
  stagesAsOne(name, readCase(name).config.numHiddenLayers === 3 ? [1, 2] : [1, 1]),
);

it.each([
  { what: "adapters in the last block alone: no gradient flows", blocks: [2, 1], more: { layers: [2] } },
  { what: "adapters in the first block alone: gradients flow through", blocks: [1, 1, 1], more: { layers: [0] } },
])("stages train as one rank, to the last bit: $what", ({ blocks, more }) => stagesAsOne("llama3", blocks, more));

it("an objective whose weights are known after the forward, with a norm that clips", async () => {
  const { rows } = readCase("llama3");
  const sided = rows
    .slice(0, 4)
    .map((row, i) => ({ ...row, index: i >> 1, side: i % 2 ? "rejected" : "chosen" }) as const);
  const step = [sided.slice(0, 2), sided.slice(2)];
  const objective = createObjective({ name: "simpo" });
  const options = { lr: 1e-2, maxGradNorm: 1e-3 };
  const alone = trainerOn(0, "llama3", { objective });
  const ranks = staged("llama3", [2, 1], { objective });
  for (let i = 0; i < 3; i++) {
    const expected = await alone.step(step, options);
    const [found] = await Promise.all(ranks.map((trainer) => trainer.step(step, options)));
    expect(expected.gradNorm).toBeGreaterThan(1e-3);
    expect(Math.abs(found!.loss / expected.loss - 1)).toBeLessThan(1e-6);
    expect(Object.keys(found!.metrics)).toEqual(Object.keys(expected.metrics));
  }
  const [one, whole] = await Promise.all([alone.state(), ...ranks.map((trainer) => trainer.state())]);
  const worst = worstError(values(whole!.parameters), values(one!.parameters));
  expect(worst.error, worst.name).toBeLessThan(1e-6);
  for (const trainer of [alone, ...ranks]) await trainer.dispose();
});

it("a state goes on in any number of stages, to the same bytes", async () => {
  const options = { lr: 1e-2, maxGradNorm: 0.5 };
  const step = stepOf("llama3");
  const three = staged("llama3", [1, 1, 1]);
  for (let i = 0; i < 2; i++) await Promise.all(three.map((trainer) => trainer.step(step, options)));
  const [half] = await Promise.all(three.map((trainer) => trainer.state()));
  const two = staged("llama3", [2, 1]);
  for (const trainer of two) await trainer.restore(half!);
  const ends: TrainerState[] = [];
  for (const ranks of [three, two]) {
    await Promise.all(ranks.map((trainer) => trainer.step(step, options)));
    ends.push((await Promise.all(ranks.map((trainer) => trainer.state())))[0]!);
  }
  expect(tensorsOf(ends[1]!)).toEqual(tensorsOf(ends[0]!));
  expect(ends[0]!.step).toBe(3);
  for (const trainer of [...three, ...two]) await trainer.dispose();
});

it("pipelines side by side share what they learn: two stages for each half of a step", async () => {
  const options = { lr: 1e-2, maxGradNorm: 0.5 };
  const step = stepOf("llama3");
  const alone = trainerOn(0, "llama3", {});
  const stages = stagesOf([2, 1]);
  const all = ranksInProcess(4);
  const grid = await Promise.all(
    all.map(async (world, rank) => {
      const ranks = await world.split(rank >> 1);
      const communicator = await world.split(rank % 2);
      return trainerOn(rank % 2, "llama3", { pipeline: { ranks, stages }, communicator }, stages[rank % 2]);
    }),
  );
  for (let i = 0; i < 3; i++) {
    const expected = await alone.step(step, options);
    const found = await Promise.all(grid.map((trainer) => trainer.step(step, options)));
    for (const { loss, supervisedTokens } of found) {
      expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(1e-6);
      expect(supervisedTokens).toBe(expected.supervisedTokens);
    }
  }
  const { loss } = await alone.validate(step);
  for (const found of await Promise.all(grid.map((trainer) => trainer.validate(step))))
    expect(Math.abs(found.loss / loss - 1)).toBeLessThan(1e-5);
  const [one, first, , other] = await Promise.all([alone, ...grid].map((trainer) => trainer.state()));
  const worst = worstError(values(first!.parameters), values(one!.parameters));
  expect(worst.error, worst.name).toBeLessThan(1e-5);
  expect(tensorsOf(other!)).toEqual(tensorsOf(first!));
  for (const trainer of [alone, ...grid]) await trainer.dispose();
});
