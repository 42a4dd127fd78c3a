import { expect, it } from "vitest";
import { learningRate, type ScheduleName } from "./schedule.js";

// transformers 5.23: [scheduler.get_last_lr()[0] for 10 steps], lr 1.0, 3 warm-up steps, 10 training steps.
const REFERENCE: Record<ScheduleName, number[]> = {
  constant: [0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1],
  linear: [0, 1 / 3, 2 / 3, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7],
  cosine: [0, 1 / 3, 2 / 3, 1, 0.95048443, 0.8117449, 0.61126047, 0.38873953, 0.1882551, 0.04951557],
};

it.each(Object.entries(REFERENCE))("%s has the values of transformers' schedule with warm-up", (name, expected) => {
  const options = { name: name as ScheduleName, lr: 1, warmupSteps: 3, totalSteps: 10 };
  expected.forEach((rate, step) => {
    expect(learningRate(step, options)).toBeCloseTo(rate, 7);
  });
});

it("starts at the peak without a warm-up and stays at zero past the end", () => {
  expect(learningRate(0, { name: "cosine", lr: 2e-4, warmupSteps: 0, totalSteps: 5 })).toBe(2e-4);
  expect(learningRate(7, { name: "linear", lr: 2e-4, warmupSteps: 0, totalSteps: 5 })).toBe(0);
});
