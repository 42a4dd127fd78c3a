import { expect, it } from "vitest";
import { answerBegins, roomFor, withAnswer } from "./answered.js";
import type { Sample } from "./sample.js";

/** A sample of `ids`, targets where `marks` has a 1. */
const sampleOf = (ids: readonly number[], marks: readonly number[], more: Partial<Sample> = {}): Sample => ({
  index: 3,
  ids: Int32Array.from(ids),
  supervised: Uint8Array.from(marks),
  ...more,
});

const taughtBy = sampleOf([7, 8, 9, 1, 2, 3], [0, 0, 0, 0, 1, 1]);
const sample = sampleOf([5, 6, 1, 4, 1, 2, 3, 9], [0, 1, 0, 0, 0, 1, 1, 0], { taughtBy });

it("the last answer of a sample begins behind what is asked last, whatever stands behind it", () => {
  expect(answerBegins(sample)).toBe(5);
  expect(answerBegins(taughtBy)).toBe(4);
  expect(answerBegins(sampleOf([1, 2, 3], [0, 1, 1]))).toBe(1);
});

it("another answer takes its place, to the model and to its teacher, and is all that is learned", () => {
  const { ids, supervised, taughtBy: taught, index } = withAnswer(sample, [20, 21, 22]);
  expect([...ids]).toEqual([5, 6, 1, 4, 1, 20, 21, 22]);
  expect([...supervised]).toEqual([0, 0, 0, 0, 0, 1, 1, 1]);
  expect([...taught!.ids]).toEqual([7, 8, 9, 1, 20, 21, 22]);
  expect([...taught!.supervised]).toEqual([0, 0, 0, 0, 1, 1, 1]);
  expect(index).toBe(3);
});

it("room is what the longer prompt leaves", () => {
  expect(roomFor(sample, 12, 4)).toBe(4);
  expect(roomFor(sample, 8, 4)).toBe(3);
  expect(
    roomFor({ ...sample, taughtBy: { ...taughtBy, ...sampleOf([1, 1, 1, 1, 1, 1, 2], [0, 0, 0, 0, 0, 0, 1]) } }, 8, 4),
  ).toBe(2);
});
