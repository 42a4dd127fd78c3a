import type { Communicator } from "../communicators/communicator.js";

/** What a message between stages carries. */
export const TAG = { stream: 1, gradient: 2 } as const;

/** The numbers of a message. Throws an error where they are not as many as `size`; `cause` is what they come of then. */
export function numbersOf(bytes: Uint8Array, size: number, cause: string): Float32Array {
  if (bytes.length !== 4 * size)
    throw new Error(`a stage sent ${bytes.length} bytes where ${4 * size} were expected: ${cause}`);
  const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
  return new Float32Array(own.buffer);
}

/** Messages to one neighbour. Numbers that are still being computed may be given: they are sent when they are there. */
export class Outbox {
  private readonly ranks: Communicator;
  private readonly to: number;
  private readonly tag: number;
  private last: Promise<void> = Promise.resolve();

  constructor(ranks: Communicator, to: number, tag: number) {
    this.ranks = ranks;
    this.to = to;
    this.tag = tag;
  }

  /** Sends values when those before them are gone. Throws what kept those from being sent. */
  async put(values: Promise<ArrayBufferView>): Promise<void> {
    values.catch(() => undefined); // told below
    await this.last;
    this.last = values.then(({ buffer, byteOffset, byteLength }) =>
      this.ranks.send(this.to, this.tag, new Uint8Array(buffer, byteOffset, byteLength)),
    );
    this.last.catch(() => undefined); // told at the next call
  }

  /** Ends when everything is sent. Throws what kept it from being sent. */
  sent(): Promise<void> {
    return this.last;
  }
}

/** So many messages of one neighbour, each asked for while the one before it is worked on. */
export class Inbox {
  private readonly ask: () => Promise<Uint8Array>;
  private left: number;
  private next: Promise<Uint8Array> | undefined;

  constructor(ranks: Communicator, from: number, tag: number, count: number) {
    this.ask = () => ranks.receive(from, tag);
    this.left = count;
    this.next = this.post();
  }

  /** The values of the next message. Throws an error where they are not as many as `size`, and what `unless` throws before they come. */
  async take(size: number, unless: Promise<unknown>): Promise<Float32Array> {
    const bytes = await Promise.race([this.next!, unless.then(() => this.next!)]);
    this.next = this.post();
    return numbersOf(bytes, size, "the ranks' batches differ");
  }

  private post(): Promise<Uint8Array> | undefined {
    if (this.left-- <= 0) return undefined;
    const asked = this.ask();
    asked.catch(() => undefined); // told when it is taken
    return asked;
  }
}
