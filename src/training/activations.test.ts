import { expect, it } from "vitest";
import { CONFIGS } from "../../test/conformance/models.js";
import type { Device } from "../runtime/index.js";
import { Activations } from "./activations.js";

it("batches of growing lengths: buffers are made anew for half as much again, not for every new length", () => {
  const made: number[] = [];
  const freed: number[] = [];
  const device = {
    allocate: (bytes: number) => ({ id: made.push(bytes), bytes }),
    free: ({ id }: { id: number }) => void freed.push(id),
  } as unknown as Device;
  const activations = new Activations(device, CONFIGS["grouped queries"]!, { checkpointing: false, lowest: 0 });
  const bytesFor = (rows: number) => activations.scratch("q", [rows, 4]).buffer.bytes;
  expect([100, 60, 110, 150, 160, 400].map(bytesFor)).toEqual([1600, 1600, 2400, 2400, 3600, 6400]);
  expect(activations.bytes).toBe(6400);
  expect(freed).toEqual([1, 2, 3]);
  activations.dispose();
  expect(freed).toEqual([1, 2, 3, 4]);
});
