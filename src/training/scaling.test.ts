import { expect, it } from "vitest";
import { largestLoad, modelStep, type StepCosts } from "./scaling.js";

const COSTS: StepCosts = {
  steps: [[100, 100, 100, 100, 100, 100, 100, 100]],
  secondsPerToken: 0.01,
  secondsPerStep: 0.2,
  jitter: 0,
  gradientBytes: 16e6,
  secondsPerByte: 0,
  stages: 1,
  largestShare: 1,
  streamBytes: 4096,
  batchSize: 1,
};
const NETWORK = { bitsPerSecond: 1e9, latency: 1e-3 };

it("one rank computes, and nothing else", () => {
  const one = modelStep({ ...COSTS, jitter: 0.1 }, 1, NETWORK);
  expect(one).toMatchObject({ ragged: 0, stragglers: 0, pipeline: 0, exchange: 0, speedup: 1, efficiency: 1 });
  expect(one.seconds).toBeCloseTo(8 + 0.2, 12);
});

it("four ranks with as much to do each add the exchange, by hand", () => {
  const four = modelStep(COSTS, 4, NETWORK);
  // two short exchanges, and two of parts of 4 MB, for each of which Open MPI asks first: 2 + 2 x 3 latencies, twice for four ranks
  const exchange = 2 * 8 * 1e-3 + (8 * 2 * 0.75 * 16e6) / 1e9;
  expect(four.exchange).toBeCloseTo(exchange, 12);
  expect(four.seconds).toBeCloseTo(2 + 0.2 + exchange, 12);
  expect(four.efficiency).toBeCloseTo(8.2 / (2.2 + exchange) / 4, 12);
});

it("rows cannot be cut: a rank has as many whole ones as the fullest gets", () => {
  expect(largestLoad([5, 4, 3, 3, 3], 2)).toBe(10); // 9 were possible: the longest first is no search
  const three = modelStep(COSTS, 3, NETWORK);
  expect(three.ragged).toBeCloseTo(0.01 * (300 - 800 / 3), 12);
  const many = modelStep(COSTS, 1024, { bitsPerSecond: 1e15, latency: 0 });
  expect(many.seconds).toBeGreaterThan(1 + 0.2); // eight rows keep eight ranks busy
  expect(many.speedup).toBeLessThan(8.2 / 1.2);
});

it("the slowest of more ranks is later, and a faster network never slower", () => {
  const late = [8, 64, 512].map((ranks) => modelStep({ ...COSTS, jitter: 0.05 }, ranks, NETWORK).stragglers);
  expect(late.toSorted((a, b) => a - b)).toEqual(late);
  expect(new Set(late).size).toBe(3);
  const [slow, fast] = [1, 100].map((gigabits) => modelStep(COSTS, 64, { ...NETWORK, bitsPerSecond: gigabits * 1e9 }));
  expect(slow!.exchange - fast!.exchange).toBeCloseTo(8 * 2 * (63 / 64) * 16e6 * (1e-9 - 1e-11), 12);
});

it("two stages fill and empty once a step, and wait for a network that is slower than they compute", () => {
  const costs = { ...COSTS, stages: 2, largestShare: 0.5, secondsPerStep: 0 };
  const free = modelStep(costs, 2, { bitsPerSecond: 1e15, latency: 0 });
  expect(free.seconds).toBeCloseTo(4 + 4 / 8, 6); // eight turns of half a second each, and one more
  expect(free.exchange).toBe(0);
  const slow = modelStep(costs, 2, { bitsPerSecond: 1e6, latency: 0 });
  const message = (8 * 100 * 4096) / 1e6;
  expect(slow.seconds).toBeCloseTo(4 + (0.5 + 2 * message) + 8 * (2 * message - 0.5), 9);
  expect(modelStep(costs, 4, NETWORK).exchange).toBeGreaterThan(0);
});
