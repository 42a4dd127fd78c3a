import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createBatches } from "./batches.js";
import { openMixture, type Part } from "./mixture.js";
import type { Sample } from "./sample.js";

const part = (name: string, size: number, weight?: number, length = (i: number) => 2 + (i % 5)): Part => ({
  name,
  weight,
  samples: Array.from(
    { length: size },
    (_, i): Sample => ({
      index: i,
      ids: new Int32Array(length(i)),
      supervised: new Uint8Array(length(i)).fill(1, 1),
    }),
  ),
});
const all = (parts: readonly Part[]) => parts.flatMap(({ samples }) => samples);

describe("a mixture by weight", () => {
  const parts = [part("a", 10, 3), part("b", 20, 1)];

  it("takes an epoch as long as all files together, each file's share by its weight", () => {
    const mixture = openMixture(parts, { seed: 1 })!;
    expect(mixture.counts).toEqual([23, 7]); // 22.5 and 7.5 of 30
    for (const epoch of [0, 1, 5]) {
      const drawn = mixture.draw(epoch);
      expect(parts.map(({ samples }) => drawn.filter((sample) => samples.includes(sample)).length)).toEqual([23, 7]);
    }
  });

  it("deals a file like a deck: none of it comes again before all of it has come, over epochs too", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), fc.nat(1000), (a, b, seed) => {
        const two = [part("a", 5, a), part("b", 7, b)];
        const mixture = openMixture(two, { seed })!;
        for (const { samples } of two) {
          const dealt = Array.from({ length: 6 }, (_, epoch) => mixture.draw(epoch)).flat();
          const mine = dealt.filter((sample) => samples.includes(sample));
          for (let at = 0; at + samples.length <= mine.length; at += samples.length) {
            expect(new Set(mine.slice(at, at + samples.length)).size).toBe(samples.length);
          }
        }
      }),
      { numRuns: 50 },
    );
  });

  it("depends on the seed and the epoch alone, and without shuffle on neither", () => {
    const order = (seed: number, epoch: number, shuffle = true) =>
      openMixture(parts, { seed, shuffle })!
        .draw(epoch)
        .map(({ index }) => index)
        .join();
    expect(order(1, 2)).toBe(order(1, 2));
    expect(order(1, 2)).not.toBe(order(2, 2));
    expect(order(1, 2)).not.toBe(order(1, 3));
    expect(order(1, 0, false)).toBe(order(2, 0, false));
  });

  it("is none without weights, and refuses weights for some files and shares of less than a sample", () => {
    expect(openMixture([part("a", 3), part("b", 3)])).toBeUndefined();
    expect(() => openMixture([part("a", 3, 1), part("b", 3)])).toThrow("data.train: 1 of 2 files have a weight");
    expect(() => openMixture([part("a", 3, 1), part("b", 3, 1000)])).toThrow(/weight of a gives it less than one/);
  });

  it.each([false, true])("goes on exactly where it stopped, packing %s", (packing) => {
    const options = { batchSize: 2, packing, maxSeqLen: 8, seed: 3, draw: openMixture(parts, { seed: 3 })!.draw };
    const whole = createBatches(all(parts), options);
    const steps = whole.totalSteps({ epochs: 3, maxSteps: null });
    const seen = Array.from({ length: steps }, () => [whole.cursor, whole.next()] as const);
    expect(whole.cursor).toEqual({ epoch: 3, step: 0 });
    for (const [at, [cursor]] of seen.entries()) {
      const resumed = createBatches(all(parts), options);
      resumed.seek(cursor);
      expect(Array.from({ length: steps - at }, () => resumed.next())).toEqual(seen.slice(at).map(([, step]) => step));
    }
  });
});
