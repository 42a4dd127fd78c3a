import { expect, it } from "vitest";
import { createBatches } from "./batches.js";
import { keptBeside, keptSample, withKept } from "./kept.js";
import type { Sample } from "./sample.js";

const samples = (count: number, length: number): Sample[] =>
  Array.from({ length: count }, (_, index) => ({
    index,
    ids: new Int32Array(length).fill(index),
    supervised: Uint8Array.from({ length }, (_, i) => Number(i > 0)),
  }));
const own = () => createBatches(samples(10, 4), { batchSize: 3, seed: 5 });
const open = (share: number, texts = 9) => withKept(own(), samples(texts, 6), { share, batchSize: 3, seed: 5 });
const indices = (batches: readonly (readonly Sample[])[]) => batches.map((batch) => batch.map(({ index }) => index));

it("a step's own micro-batches are as they were, and behind them are its kept texts, none twice", () => {
  const [plain, batches] = [own(), open(0.5)];
  for (let i = 0; i < 8; i++) {
    const [before, step] = [plain.next(), batches.next()];
    const kept = step.filter((batch) => batch[0]!.side === "kept");
    expect(step.slice(0, before.length)).toEqual(before);
    expect(step).toHaveLength(before.length + kept.length);
    expect(kept.flat()).toHaveLength(before.flat().length);
    expect(new Set(indices(kept).flat()).size).toBe(kept.flat().length);
    expect(batches.epochsDone).toBe(plain.epochsDone);
  }
});

it("the share is of a step's rows: at least one, at most all there are, in micro-batches of the same size", () => {
  const keptOf = (share: number, texts?: number) => indices(open(share, texts).next()).slice(1);
  expect(keptOf(0.01).map((batch) => batch.length)).toEqual([1]);
  expect(keptOf(0.25).map((batch) => batch.length)).toEqual([1]);
  expect(keptOf(0.7).map((batch) => batch.length)).toEqual([3, 3, 1]);
  expect(keptOf(0.7, 2).map((batch) => batch.length)).toEqual([2]);
});

it("goes on exactly where it stopped, and draws anew in each step", () => {
  const whole = open(0.5);
  const seen = Array.from({ length: 12 }, () => [whole.cursor, whole.next()] as const);
  for (const [i, [cursor]] of seen.entries()) {
    const resumed = open(0.5);
    resumed.seek(cursor);
    expect(Array.from({ length: 12 - i }, () => resumed.next())).toEqual(seen.slice(i).map(([, step]) => step));
  }
  expect(new Set(seen.map(([, step]) => JSON.stringify(indices(step.slice(1))))).size).toBeGreaterThan(6);
});

it("beside validation rows stand as many as their share is, always the same ones", () => {
  const beside = (count: number, share: number, texts = 9) =>
    keptBeside(count, samples(texts, 6), { share, batchSize: 3, seed: 5 });
  expect(beside(6, 0.4).map((batch) => batch.length)).toEqual([3, 1]);
  expect(beside(6, 0.4)).toEqual(beside(6, 0.4));
  expect(
    beside(6, 0.4)
      .flat()
      .every(({ side }) => side === "kept"),
  ).toBe(true);
  expect(indices(beside(100, 0.5)).flat().sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  expect([beside(0, 0.5), beside(6, 0.5, 0)]).toEqual([[], []]);
});

it("says how large its micro-batches are", () => {
  expect(own().largest).toEqual({ tokens: 12, longest: 4 });
  expect(open(0.5).largest).toEqual({ tokens: 18, longest: 6, kept: 45 });
});

it("how an answer ends is not kept, unless nothing else is", () => {
  const sample = (ids: number[], supervised: number[]): Sample => ({
    index: 0,
    ids: Int32Array.from(ids),
    supervised: Uint8Array.from(supervised),
  });
  const ends = new Set([9]);
  const marks = (one: Sample) => [...keptSample(one, ends).supervised];
  expect(marks(sample([9, 4, 5, 9, 2, 6, 9], [0, 0, 1, 1, 0, 1, 1]))).toEqual([0, 0, 1, 0, 0, 1, 0]);
  expect(marks(sample([4, 9], [0, 1]))).toEqual([0, 1]);
  expect(keptSample(sample([4, 5], [0, 1]), ends).side).toBe("kept");
});
