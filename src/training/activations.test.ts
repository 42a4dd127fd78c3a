import { expect, it } from "vitest";
import { CONFIGS } from "../../test/conformance/models.js";
import type { Device } from "../runtime/index.js";
import { Activations } from "./activations.js";

/** A device that only counts, and what was made and freed on it. */
function counting() {
  const made: number[] = [];
  const freed: number[] = [];
  const device = {
    allocate: (bytes: number) => ({ id: made.push(bytes), bytes }),
    free: ({ id }: { id: number }) => void freed.push(id),
  } as unknown as Device;
  return { device, freed };
}

it("batches of growing lengths: buffers are made anew for half as much again, not for every new length", () => {
  const { device, freed } = counting();
  const activations = new Activations(device, CONFIGS["grouped queries"]!, { checkpointing: false, lowest: 0 });
  const bytesFor = (rows: number) => activations.scratch("q", [rows, 4]).buffer.bytes;
  expect([100, 60, 110, 150, 160, 400].map(bytesFor)).toEqual([1600, 1600, 2400, 2400, 3600, 6400]);
  expect(activations.bytes).toBe(6400);
  expect(freed).toEqual([1, 2, 3]);
  activations.dispose();
  expect(freed).toEqual([1, 2, 3, 4]);
});

it("where the largest micro-batch is known, buffers are made for its rows at once, others as they are", () => {
  const { device, freed } = counting();
  const options = { checkpointing: false, lowest: 0, largest: 300 };
  const activations = new Activations(device, CONFIGS["grouped queries"]!, options);
  const bytesFor = (padded: number, extent: number) => {
    activations.begin({ padded, extent });
    const shapes = { tokens: [padded, 2], reached: [extent, 2], chunk: [7, 2] };
    return Object.entries(shapes).map(([name, shape]) => activations.scratch(name, shape).buffer.bytes);
  };
  expect(bytesFor(100, 112)).toEqual([2400, 2400, 56]);
  expect(bytesFor(300, 300)).toEqual([2400, 2400, 56]);
  expect(freed).toEqual([]);
  expect(bytesFor(320, 330)).toEqual([3600, 3600, 56]);
  expect(freed).toEqual([1, 2]);
});
