/** How the processes of a run, each with micro-batches of its own, come to one and the same step. */
export interface Communicator {
  /** Which of them this one is, from 0, and how many there are. */
  readonly rank: number;
  readonly size: number;
  /** Adds up a vector over all of them, in place: each is left with the same sums, bit for bit. */
  sum(vector: Float32Array | Float64Array): Promise<void>;
  /** Gives every rank the bytes of rank `from`, in place; `data` is as long at all of them. */
  broadcast(data: Uint8Array, from: number): Promise<void>;
  /** What every rank gives, of any length, in the order of the ranks. */
  gather(data: Uint8Array): Promise<Uint8Array[]>;
  /** Waits until all of them are here. */
  barrier(): Promise<void>;
  /**
   * Sends bytes, of any length, to rank `to`, whose `receive` names this rank and the same `tag` (0 to 32767). The bytes are taken
   * at once: `data` may be written to again before the promise ends, which it does when the other rank is known to take them, or
   * earlier. Messages of the same two ranks and tag arrive in the order in which they were sent.
   */
  send(to: number, tag: number, data: Uint8Array): Promise<void>;
  /** The next message of rank `from` with this `tag`. Several may be waited for at once. */
  receive(from: number, tag: number): Promise<Uint8Array>;
  /** The ranks that name the same `group` (from 0), in their order, as a communicator of their own. Every rank has to call it. */
  split(group: number): Promise<Communicator>;
}
