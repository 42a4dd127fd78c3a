import type { Communicator } from "./communicator.js";

/** A run of one process: there is nobody to add up with or to wait for. */
export const local = (): Communicator => ({
  rank: 0,
  size: 1,
  sum: async () => {},
  barrier: async () => {},
});
