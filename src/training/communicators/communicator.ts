/** How the processes of a run, each with micro-batches of its own, come to one and the same step. */
export interface Communicator {
  /** Which of them this one is, from 0, and how many there are. */
  readonly rank: number;
  readonly size: number;
  /** Adds up a vector over all of them, in place: each is left with the same sums, bit for bit. */
  sum(vector: Float32Array | Float64Array): Promise<void>;
  /** Waits until all of them are here. */
  barrier(): Promise<void>;
}
