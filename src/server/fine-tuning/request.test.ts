import { expect, test } from "vitest";
import { chooseHyperparameters } from "./request.js";

const AUTO = { n_epochs: "auto", batch_size: "auto", learning_rate_multiplier: "auto" } as const;

test.each([
  [1, 25, 1, 25],
  [8, 12, 1, 96],
  [20, 5, 1, 100],
  [50, 3, 1, 150],
  [100, 3, 3, 102],
  [1000, 3, 4, 750],
  [25_000, 1, 4, 6250],
])(
  "auto: %i rows are seen %i times in batches of %i: few rows make about 100 steps, never fewer for a larger batch",
  (rows, n_epochs, batch_size, steps) => {
    const usual = { batchSize: 4, gradientAccumulationSteps: 1 };
    const chosen = chooseHyperparameters(AUTO, rows, usual);
    expect(chosen).toEqual({ n_epochs, batch_size, learning_rate_multiplier: 1 });
    expect(Math.ceil(rows / batch_size) * n_epochs).toBe(steps);
  },
);

test("auto reckons with accumulated batches and with the epochs that are given; what is given stays", () => {
  const choose = (more: object, usual: object = {}) =>
    chooseHyperparameters({ ...AUTO, ...more }, 100, { batchSize: 4, gradientAccumulationSteps: 1, ...usual });
  expect(choose({}, { gradientAccumulationSteps: 2 }).batch_size).toBe(1);
  expect(choose({ n_epochs: 2 })).toMatchObject({ n_epochs: 2, batch_size: 2 });
  expect(choose({ batch_size: 16, learning_rate_multiplier: 0.5 })).toEqual({
    n_epochs: 3,
    batch_size: 16,
    learning_rate_multiplier: 0.5,
  });
});
