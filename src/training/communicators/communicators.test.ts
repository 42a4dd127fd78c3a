import { describe, expect, it } from "vitest";
import { COMMUNICATORS } from "./index.js";

/** What every communicator of the table has to pass in a process of its own, as the first of `size`. */
describe.each(Object.entries(COMMUNICATORS))("%s", (_, open) => {
  it("knows its place, and adds up what all have", async () => {
    const communicator = await open();
    const { rank, size } = communicator;
    expect(rank).toBeGreaterThanOrEqual(0);
    expect(rank).toBeLessThan(size);
    for (const vector of [Float32Array.of(1, -0.5), Float64Array.of(2 ** 40 + 1)]) {
      const own = vector.slice();
      await communicator.sum(vector);
      expect(Array.from(vector)).toEqual(Array.from(own, (x) => x * size));
    }
    await communicator.barrier();
  });
});
