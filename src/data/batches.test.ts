import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BatchOptions, createBatches, inOrder, splitValidation } from "./batches.js";
import { packBestFit } from "./packing.js";
import type { Sample } from "./sample.js";

const sample = (index: number, length: number): Sample => ({
  index,
  ids: new Int32Array(length).fill(index),
  supervised: new Uint8Array(length).fill(1, 1),
});
const samples = Array.from({ length: 23 }, (_, i) => sample(i, 2 + ((i * 7) % 13)));
const indices = (step: readonly (readonly Sample[])[]) => step.map((batch) => batch.map((s) => s.index));
const take = (options: BatchOptions, steps: number, from = { epoch: 0, step: 0 }) => {
  const batches = createBatches(samples, options);
  batches.seek(from);
  return Array.from({ length: steps }, () => indices(batches.next()));
};

describe("packing", () => {
  it("puts the longest first, into the fullest bin with room", () => {
    expect(packBestFit([3, 7, 5, 2, 3], 10)).toEqual([
      [1, 0],
      [2, 4, 3],
    ]);
  });

  it("keeps every sample once, within capacity, in at most 11/9 of the bins needed and one", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 64 }), { maxLength: 200 }), (lengths) => {
        const bins = packBestFit(lengths, 64);
        expect(bins.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
        for (const bin of bins) expect(bin.reduce((sum, i) => sum + lengths[i]!, 0)).toBeLessThanOrEqual(64);
        const least = Math.ceil(lengths.reduce((a, b) => a + b, 0) / 64);
        if (lengths.every((l) => l <= 8)) expect(bins.length).toBeLessThanOrEqual(Math.floor((least * 11) / 9) + 1);
      }),
      { seed: 2, numRuns: 150 },
    );
  });

  it("chooses the same bins as trying every bin", () => {
    const naive = (lengths: number[], capacity: number) => {
      const rooms: number[] = [];
      for (const length of [...lengths].sort((a, b) => b - a)) {
        const fits = rooms.map((room, i) => [room, i] as const).filter(([room]) => room >= length);
        const best = fits.sort((a, b) => a[0] - b[0])[0];
        if (best) rooms[best[1]]! -= length;
        else rooms.push(capacity - length);
      }
      return rooms.sort((a, b) => a - b);
    };
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 80 }), (lengths) => {
        const rooms = packBestFit(lengths, 50).map((bin) => bin.reduce((room, i) => room - lengths[i]!, 50));
        expect(rooms.sort((a, b) => a - b)).toEqual(naive(lengths, 50));
      }),
      { seed: 3, numRuns: 100 },
    );
  });

  it("keeps packed samples apart: a micro-batch is a list of whole samples", () => {
    const batches = createBatches(samples, { packing: true, maxSeqLen: 32, batchSize: 2 });
    const seen: Sample[] = [];
    for (let i = 0; i < batches.stepsPerEpoch; i++) {
      for (const batch of batches.next()) {
        expect(batch.reduce((sum, s) => sum + s.ids.length, 0)).toBeLessThanOrEqual(64);
        seen.push(...batch);
      }
    }
    expect(new Set(seen)).toEqual(new Set(samples));
    expect(seen).toHaveLength(samples.length);
    expect(batches.packingEfficiency).toBeGreaterThan(0.9);
    expect(batches.stepsPerEpoch).toBeLessThan(createBatches(samples, { batchSize: 2 }).stepsPerEpoch);
  });
});

describe("order", () => {
  it("is the same for the same seed, another in each epoch and for another seed", () => {
    const options = { batchSize: 2, seed: 5 };
    const epoch = 12;
    expect(take(options, 24)).toEqual(take(options, 24));
    expect(take(options, epoch)).not.toEqual(take(options, epoch, { epoch: 1, step: 0 }));
    expect(take(options, epoch)).not.toEqual(take({ ...options, seed: 6 }, epoch));
    expect(take({ ...options, shuffle: false }, 2)).toEqual([[[0, 1]], [[2, 3]]]);
  });

  it("keeps the partial last step, and no step crosses an epoch", () => {
    const batches = createBatches(samples, { batchSize: 4, accumulation: 4, shuffle: false });
    expect([batches.microBatchesPerEpoch, batches.stepsPerEpoch]).toEqual([6, 2]);
    batches.next();
    expect(indices(batches.next())).toEqual([
      [16, 17, 18, 19],
      [20, 21, 22],
    ]);
    expect(batches.cursor).toEqual({ epoch: 1, step: 0 });
    expect(indices(batches.next())[0]).toEqual([0, 1, 2, 3]);
  });

  it.each([{}, { packing: true, maxSeqLen: 30 }, { accumulation: 3 }])(
    "trap 10: continues from a saved cursor as if never stopped (%o)",
    (extra) => {
      const options = { batchSize: 2, seed: 1, ...extra };
      const whole = createBatches(samples, options);
      const cursors: string[] = [];
      const steps = Array.from({ length: 30 }, () => {
        cursors.push(JSON.stringify(whole.cursor));
        return indices(whole.next());
      });
      for (const at of [0, 1, whole.stepsPerEpoch - 1, whole.stepsPerEpoch, 17]) {
        expect(take(options, 30 - at, JSON.parse(cursors[at]!))).toEqual(steps.slice(at));
      }
    },
  );

  it("refuses a cursor that is no place in the data, and no data", () => {
    const batches = createBatches(samples);
    expect(() => batches.seek({ epoch: 0, step: 23 })).toThrow(/an epoch of this data has 23 steps/);
    expect(() => batches.seek({ epoch: 0.5, step: 0 })).toThrow(/cannot continue/);
    expect(() => createBatches([])).toThrow(/no samples/);
  });
});

it("counts steps", () => {
  const batches = createBatches(samples.slice(0, 7));
  expect(batches.totalSteps({ epochs: 3, maxSteps: null })).toBe(21);
  expect(batches.totalSteps({ epochs: 3, maxSteps: 5 })).toBe(5);
  expect(batches.cursor).toEqual({ epoch: 0, step: 0 });
  batches.next();
  expect(batches.epochsDone).toBeCloseTo(1 / 7);
});

it("splits by seed, keeping the order, and never empties a part", () => {
  const { train, validation } = splitValidation(samples, 0.2, 4);
  expect([train.length, validation.length]).toEqual([18, 5]);
  expect([...train, ...validation].sort((a, b) => a.index - b.index)).toEqual(samples);
  expect(train.map((s) => s.index)).toEqual(train.map((s) => s.index).sort((a, b) => a - b));
  expect(splitValidation(samples, 0.2, 4)).toEqual({ train, validation });
  expect(splitValidation(samples, 0.2, 5).validation).not.toEqual(validation);
  const twice = samples.flatMap((sample) => [sample, { ...sample }]);
  const split = splitValidation(twice, 0.2, 4);
  expect(split.validation).toEqual(validation.flatMap((sample) => [sample, sample]));
  expect(split.train).toHaveLength(2 * train.length);
  expect(splitValidation(samples.slice(0, 2), 0.99, 0).train).toHaveLength(1);
  expect(() => splitValidation(samples.slice(0, 1), 0.5, 0)).toThrow(/cannot be split/);
});

it("walks samples in order for evaluation", () => {
  expect(indices(inOrder(samples.slice(0, 5), 2))).toEqual([[0, 1], [2, 3], [4]]);
});

it("knows the largest micro-batch for a forecast", () => {
  const batches = createBatches([sample(0, 5), sample(1, 9), sample(2, 4)], { batchSize: 2, shuffle: false });
  expect(batches.largest).toEqual({ tokens: 14, longest: 9 });
});
