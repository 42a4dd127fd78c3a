import type { MpiLibrary } from "./library.js";

/** Memory of its own, which V8 never moves, for as long as C may write to it. */
export const cells = (count = 1): Int32Array => new Int32Array(new ArrayBuffer(4 * count));
const bytes = (count: number): Uint8Array => new Uint8Array(new ArrayBuffer(count));

/** Bytes of a handle in memory, and of a status, whichever kind of MPI: the most that any has. */
const HANDLE = 8;
const STATUS = 64;

/** Milliseconds: MPI is asked without a pause for so long, and as long as something came within the last so many; then once in so many. */
const SPIN = 0.2;
const BUSY = 5;
const PAUSE = 1;

interface Open {
  /** Whether it has ended; asked again until it has. */
  readonly ended: () => boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * What was begun in MPI and has not ended. MPI goes on only while it is called, and by the thread that began it: here the event
 * loop asks, a fifth of a millisecond at a time, so that nothing else waits for long and no other thread is needed.
 */
export class Requests {
  private readonly library: MpiLibrary;
  private readonly status = bytes(STATUS);
  private readonly flag = cells();
  private open: Open[] = [];
  private scheduled = false;
  private active = 0;

  constructor(library: MpiLibrary) {
    this.library = library;
  }

  /** Begins a request, with memory for its handle, and waits for its end. What it reads and writes has to stay where it is. */
  async run(begin: (request: Uint8Array) => void): Promise<void> {
    const request = bytes(HANDLE);
    begin(request);
    await this.until(() => this.test(request));
  }

  /** Waits for a message, whatever its length, and receives it. */
  async receive(comm: number | bigint, from: number, tag: number): Promise<Uint8Array> {
    const { call, byte } = this.library;
    const message = bytes(HANDLE);
    const [count, status] = [cells(), bytes(STATUS)];
    await this.until(() => {
      call("MPI_Improbe", from, tag, comm, this.flag, message, status);
      return this.flag[0] !== 0;
    });
    call("MPI_Get_count", status, byte, count);
    const data = bytes(count[0]!);
    await this.run((request) => call("MPI_Imrecv", data, data.length, byte, message, request));
    return data;
  }

  private test(request: Uint8Array): boolean {
    this.library.call("MPI_Test", request, this.flag, this.status);
    return this.flag[0] !== 0;
  }

  private until(ended: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.open.push({ ended, resolve, reject });
      this.active = performance.now();
      if (!this.scheduled) this.ask();
    });
  }

  /** Asks about everything that is open for a while, and then later again, until nothing is. */
  private ask(): void {
    this.scheduled = false;
    const began = performance.now();
    do {
      this.open = this.open.filter((one) => !this.settled(one));
    } while (this.open.length > 0 && performance.now() - began < SPIN);
    if (this.open.length === 0) return;
    this.scheduled = true;
    if (performance.now() - this.active < BUSY) setImmediate(() => this.ask());
    else setTimeout(() => this.ask(), PAUSE);
  }

  private settled({ ended, resolve, reject }: Open): boolean {
    try {
      if (!ended()) return false;
      this.active = performance.now();
      resolve();
    } catch (error) {
      reject(error);
    }
    return true;
  }
}
